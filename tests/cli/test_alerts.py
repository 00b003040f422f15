"""``riskstream alerts``: the feed as JSON, as lines, and live in a terminal."""

from __future__ import annotations

import subprocess
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
from engine.errors import ConfigError
from engine.offline import OfflineScorer
from engine.records import Encoder, Times
from engine.scorer import Scorer
from riskstream.alerts import parse_since
from streams.embedded.processes import choose_port
from tests.bundles import tiny_bundle
from tests.cli.running import error_line, riskstream
from tests.cli.terminal import Terminal
from tests.cli.topics import publish_alerts, write_config

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
    return riskstream("alerts", "-c", feed, *options, cwd=feed.parent)


def bodies(values: list[bytes]) -> list[dict[str, Any]]:
    return [orjson.loads(value) for value in values]


def test_json_is_a_line_an_alert(feed: Path, values: list[bytes]) -> None:
    done = alerts(feed, "--since", "1h", "--once", "--json")
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


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (["--decision", "approve"], "--decision must be review or decline, however: 'approve'"),
        (["--since", "soon"], "--since must be"),
        (["--since", "5 minutes"], "an age such as 90s, 15m, 2h or 7d"),
    ],
)
def test_a_wrong_option_is_one_line(options: list[str], rule: str, tmp_path: Path) -> None:
    done = riskstream("alerts", *options, "--once", cwd=tmp_path)
    assert done.returncode == 2
    assert rule in error_line(done)


def test_a_broker_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    config = write_config(tmp_path, f"127.0.0.1:{choose_port(None)}")
    done = riskstream(
        "alerts", "-c", config, cwd=tmp_path, RISKSTREAM_BROKER__CONNECT_TIMEOUT_S="0.5"
    )
    assert done.returncode == 1
    assert "Kafka must answer at broker.bootstrap" in error_line(done)


NOW_MS = 1_800_000_000_000


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
        shown = picture(terminal.read_until(all_shown, 30), count)
        places = [shown.index(account) for account in reversed(accounts)]
        assert places == sorted(places)
        publish_alerts(feed, [values[0].replace(accounts[0].strip().encode(), b"card-new")])
        count += 1
        accounts.append(" card-new ")
        shown = picture(terminal.read_until(all_shown, 30), count)
        assert shown.index(" card-new ") == min(map(shown.index, accounts))
        terminal.press_ctrl_c()
        assert terminal.read_to_end(30) == 130
    assert "Traceback" not in terminal.text


def test_ctrl_c_ends_a_pipe_too(feed: Path) -> None:
    with Terminal("alerts", "-c", feed, "--since", "1h", "--json", cwd=feed.parent) as terminal:
        terminal.read_until(lambda text: text.count('"alert_id"') >= 2, 30)
        terminal.press_ctrl_c()
        assert terminal.read_to_end(30) == 130
    assert "Traceback" not in terminal.text
