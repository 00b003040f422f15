"""``riskstream alerts``: the feed as JSON, as lines, and live in a terminal."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from engine.bundle import Bundle
from engine.columns import Columns
from engine.decode import Decoder, Limits
from engine.device import Device
from engine.errors import BrokerUnavailable, ConfigError
from engine.offline import OfflineScorer
from engine.records import Encoder, Times
from engine.scorer import Scorer
from riskstream.alert_feed import AlertFeed
from riskstream.alerts import parse_since
from streams.configuration import load_settings
from streams.embedded.broker import EmbeddedBroker
from streams.embedded.processes import choose_port
from streams.feed import open_feed
from streams.kafka import ensure_topics
from tests.bundles import tiny_bundle
from tests.cli.running import error_line, invoke, riskstream
from tests.cli.terminal import Terminal
from tests.cli.topics import publish_alerts, write_config

NOW_MS = 1_800_000_000_000
AMOUNTS = [45.0, 20_000.5, 3.0, 90.0, 12_000.0, 60.0]


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Alert records as the engine makes them, oldest first."""
    bundle = Bundle.load(tiny_bundle(tmp_path_factory.mktemp("bundle")))
    scorer = Scorer(bundle, Device.CPU)
    events = [
        orjson.dumps(
            {
                "transaction_id": f"t{at}",
                "time": f"2026-01-01T00:00:{at:02}Z",
                "card_id": f"card-{at}",
                "terminal_id": "7",
                "amount": amount,
            }
        )
        for at, amount in enumerate(AMOUNTS)
    ]
    now_ms = 1_767_300_000_000
    batch = OfflineScorer(Decoder(bundle.manifest.schema, Limits()), scorer).score(events, now_ms)
    columns: Columns = batch.columns
    times = Times(np.full(len(columns), now_ms), now_ms, now_ms)
    return [
        record.value or b""
        for record in Encoder(scorer).alerts(columns, batch.scored, times, events)
    ]


@pytest.fixture
def feed(config: Path, values: list[bytes]) -> Path:
    """A configuration whose alerts topic holds the alerts."""
    publish_alerts(config, values)
    return config


def alerts(feed: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return invoke("alerts", "-c", feed, *options, cwd=feed.parent)


def bodies(values: list[bytes]) -> list[dict[str, Any]]:
    return [orjson.loads(value) for value in values]


def test_json_is_a_line_an_alert(feed: Path, values: list[bytes]) -> None:
    done = riskstream(*("alerts", "-c", feed, "--since", "1h", "--once", "--json"), cwd=feed.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert [orjson.loads(line) for line in done.stdout.splitlines()] == bodies(values)


def test_once_shows_all_that_there_is(feed: Path, values: list[bytes]) -> None:
    assert len(alerts(feed, "--once").stdout.splitlines()) == len(values)


def test_a_line_holds_what_an_analyst_asks(feed: Path, values: list[bytes]) -> None:
    done = alerts(feed, "--since", "1h", "--once")
    for line, body in zip(done.stdout.splitlines(), bodies(values), strict=True):
        when = datetime.fromtimestamp(body["event_time_ms"] / 1000, UTC)
        assert line.startswith(when.strftime("%Y-%m-%d %H:%M:%S"))
        assert f"  {body['decision']} " in line
        assert f"  {body['account']} " in line
        assert f" {body['amount']:,.2f}  " in line
        assert f"  {body['score']:.3f}  " in line
        assert body["reasons"][0]["text"].rstrip(".") in line


@pytest.mark.parametrize("decision", ["review", "decline"])
def test_decisions_are_picked(decision: str, feed: Path, values: list[bytes]) -> None:
    wanted = [body for body in bodies(values) if body["decision"] == decision]
    assert 0 < len(wanted) < len(values)
    done = alerts(feed, "--decision", decision, "--once", "--json")
    assert [orjson.loads(line) for line in done.stdout.splitlines()] == wanted


def test_what_was_published_before_is_left_out(feed: Path) -> None:
    done = alerts(feed, "--since", "2100-01-01", "--once")
    assert (done.returncode, done.stdout) == (0, "")


def in_partitions(values: list[bytes], count: int) -> tuple[list[bytes], list[tuple[int, int]]]:
    """Many alerts a second apart, partition after partition, each account at its place in time."""
    body = orjson.loads(values[0])
    order = [at for partition in range(4) for at in range(partition, count, 4)]
    many = [orjson.dumps({**body, "account": f"card-{at}"}) for at in order]
    return many, [(at % 4, NOW_MS + at * 1_000) for at in order]


def test_partitions_are_merged_in_the_order_of_publication(
    config: Path, values: list[bytes]
) -> None:
    publish_alerts(config, *in_partitions(values, 400))
    done = alerts(config, "--once", "--json")
    accounts = [orjson.loads(line)["account"] for line in done.stdout.splitlines()]
    assert accounts == [f"card-{at}" for at in range(400)]


def test_a_terminal_shows_the_newest_of_all_partitions(config: Path, values: list[bytes]) -> None:
    publish_alerts(config, *in_partitions(values, 400))
    with Terminal("alerts", "-c", config, "--once", cwd=config.parent) as terminal:
        assert terminal.read_to_end(60) == 0
    shown = re.findall(r"card-(\d+)", picture(terminal.text, 400))
    assert [int(each) for each in shown] == list(range(399, 399 - len(shown), -1))
    assert len(shown) > 30


FOREIGN = [b"no JSON", b"[1]", b"{}", b'{"decision": "review"}', b'{"error": "none of ours"}']


@pytest.mark.parametrize("options", [(), ("--json",), ("--json", "--decision", "decline")])
def test_what_is_no_alert_is_passed_over_with_one_line(
    options: tuple[str, ...], config: Path, values: list[bytes]
) -> None:
    foreign = [*FOREIGN, orjson.dumps({**orjson.loads(values[0]), "event_time_ms": 2**60})]
    publish_alerts(config, [*foreign, *values], [(2, None)] * (len(foreign) + len(values)))
    done = alerts(config, "--once", *options)
    assert done.returncode == 0
    wanted = [each for each in bodies(values) if not options[1:] or each["decision"] == "decline"]
    assert len(done.stdout.splitlines()) == len(wanted) > 0
    topic = load_settings(config).topics.alerts
    lines = done.stderr.splitlines()
    assert len(lines) == len(foreign)
    for at, line in enumerate(sorted(lines, key=lambda each: each.partition("offset")[2])):
        assert f"{topic} must hold " in line
        assert f"offset {at} of partition 2 is none" in line


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker that a test may end and start again at the same address."""
    with EmbeddedBroker(tmp_path / "own", port=choose_port(None)) as broker:
        yield broker


def test_a_broker_that_goes_away_is_waited_for_and_told_once(
    own_broker: EmbeddedBroker, values: list[bytes], tmp_path: Path
) -> None:
    config = write_config(tmp_path, own_broker.bootstrap)
    publish_alerts(config, values)
    with Terminal("alerts", "-c", config, "--since", "1h", "--json", cwd=tmp_path) as terminal:
        terminal.read_until(lambda text: text.count('"alert_id"') == len(values), 60)
        own_broker.kill()
        terminal.read_until(lambda text: "Kafka is away, and is waited for: " in text, 60)
        assert f"broker.bootstrap = {own_broker.bootstrap}" in terminal.text
        own_broker.start()
        terminal.read_until(lambda text: "Kafka is back\n" in text, 60)
        terminal.press_ctrl_c()
        assert terminal.read_to_end(60) == 130
    assert terminal.text.count("Kafka is") == 2
    assert "Traceback" not in terminal.text


def test_a_live_view_says_that_the_broker_is_away(
    own_broker: EmbeddedBroker, values: list[bytes], tmp_path: Path
) -> None:
    config = write_config(tmp_path, own_broker.bootstrap)
    publish_alerts(config, values)
    count = len(values)
    with Terminal("alerts", "-c", config, "--since", "1h", cwd=tmp_path) as terminal:
        terminal.read_until(lambda text: f"{count} alerts, newest first" in text, 60)
        own_broker.kill()
        terminal.read_until(lambda text: f"{count} alerts, newest first; Kafka is away" in text, 60)
        terminal.press_ctrl_c()
        assert terminal.read_to_end(60) == 130


async def test_the_end_cannot_be_known_while_the_broker_is_away(
    own_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    settings = load_settings(write_config(tmp_path, own_broker.bootstrap))
    await ensure_topics(settings)
    async with open_feed(settings, [settings.topics.alerts], 0) as feed:
        assert await feed.poll() == []
        assert await feed.at_end()
        own_broker.kill()
        with pytest.raises(BrokerUnavailable, match=f"bootstrap = {own_broker.bootstrap}, however"):
            await feed.at_end()
        ending = AlertFeed(feed, None, once=True).batches()
        with pytest.raises(BrokerUnavailable, match="Kafka must answer"):
            [batch async for batch in ending]


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (["--decision", "approve"], "--decision must be review or decline, however: 'approve'"),
        (["--since", "soon"], "--since must be"),
        (["--since", "5 minutes"], "an age such as 90s, 15m, 2h or 7d"),
    ],
)
def test_a_wrong_option_is_one_line(options: list[str], rule: str, tmp_path: Path) -> None:
    done = invoke("alerts", *options, "--once", cwd=tmp_path)
    assert done.returncode == 2
    assert rule in error_line(done)


def test_a_broker_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    config = write_config(tmp_path, f"127.0.0.1:{choose_port(None)}")
    done = riskstream(
        "alerts", "-c", config, cwd=tmp_path, RISKSTREAM_BROKER__CONNECT_TIMEOUT_S="0.5"
    )
    assert done.returncode == 1
    assert "Kafka must answer at broker.bootstrap" in error_line(done)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, None),
        ("90s", NOW_MS - 90_000),
        ("15m", NOW_MS - 900_000),
        ("2h", NOW_MS - 7_200_000),
        ("1.5h", NOW_MS - 5_400_000),
        ("7d", NOW_MS - 604_800_000),
        ("0s", NOW_MS),
        ("2026-01-31", 1_769_817_600_000),
        ("2026-01-31T12:00:00+01:00", 1_769_857_200_000),
    ],
)
def test_since_is_an_age_or_a_time(text: str | None, wanted: int | None) -> None:
    assert parse_since(text, NOW_MS) == wanted


@pytest.mark.parametrize("text", ["", "h", "2w", "-1h", "1h30m", "now"])
def test_since_is_nothing_else(text: str) -> None:
    with pytest.raises(ConfigError, match="--since must be"):
        parse_since(text, NOW_MS)


def picture(text: str, count: int) -> str:
    """What a live view shows since it counts so many alerts."""
    return text.rpartition(f"{count} alerts, newest first")[2]


def test_a_terminal_shows_the_newest_first_until_ctrl_c(feed: Path, values: list[bytes]) -> None:
    accounts = [f" {body['account']} " for body in bodies(values)]
    count = len(values)

    def all_shown(text: str) -> bool:
        return all(account in picture(text, count) for account in accounts)

    with Terminal("alerts", "-c", feed, "--since", "1h", cwd=feed.parent) as terminal:
        shown = picture(terminal.read_until(all_shown, 60), count)
        places = [shown.index(account) for account in reversed(accounts)]
        assert places == sorted(places)
        publish_alerts(feed, [values[0].replace(accounts[0].strip().encode(), b"card-new")])
        count += 1
        accounts.append(" card-new ")
        shown = picture(terminal.read_until(all_shown, 60), count)
        assert shown.index(" card-new ") == min(map(shown.index, accounts))
        terminal.press_ctrl_c()
        assert terminal.read_to_end(60) == 130
    assert "Traceback" not in terminal.text


def test_ctrl_c_ends_a_pipe_too(feed: Path) -> None:
    with Terminal("alerts", "-c", feed, "--since", "1h", "--json", cwd=feed.parent) as terminal:
        terminal.read_until(lambda text: text.count('"alert_id"') >= 2, 60)
        terminal.press_ctrl_c()
        assert terminal.read_to_end(60) == 130
    assert "Traceback" not in terminal.text
