"""``riskstream replay``: everything arrives, in order, at the pace, and it can be gone on with."""

from __future__ import annotations

import re
import signal
import subprocess
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from streams.embedded.processes import choose_port
from streams.replay import Pace
from tests.bundles import shared_bundle, tiny_bundle
from tests.cli.files import write
from tests.cli.running import error_line, invoke, riskstream, start
from tests.cli.topics import read_all, write_config
from tests.streams.synthetic import payments
from tests.waiting import wait_for

EVENTS = payments(2_500, accounts=40)
LABELLED = [{**event, "fraud": at % 2} for at, event in enumerate(EVENTS)]


def replay(
    file: Path, config: Path, *options: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    return invoke("replay", file, "-c", config, *options, cwd=file.parent, **variables)


def shuffled(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    order = np.random.default_rng(0).permutation(len(events))
    return [events[at] for at in order]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_bundle(tmp_path_factory.mktemp("bundle") / "shared")


def time_of(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["time"])


def labels_of(events: list[dict[str, Any]], delay: timedelta) -> dict[str, dict[str, Any]]:
    """The labels that are known by the last event, by their events' ids."""
    last = max(map(time_of, events))
    return {
        event["transaction_id"]: {
            "event_id": event["transaction_id"],
            "fraud": bool(event["fraud"]),
            "known_at": (time_of(event) + delay).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "source": "replay",
        }
        for event in events
        if event["fraud"] is not None and time_of(event) + delay <= last
    }


def by_account(bodies: list[dict[str, Any]]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for body in bodies:
        found[body["card_id"]].append(body["time"])
    return found


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_every_event_arrives_in_order_under_its_account(
    kind: str, config: Path, tmp_path: Path
) -> None:
    file = write(tmp_path / f"h.{kind}", shuffled(EVENTS))
    done = replay(file, config)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    records = read_all(config)
    bodies = [orjson.loads(record.value) for record in records]
    key = "transaction_id"
    assert sorted(bodies, key=lambda each: each[key]) == sorted(EVENTS, key=lambda each: each[key])
    assert [record.key.decode() for record in records] == [each["card_id"] for each in bodies]
    assert by_account(bodies) == by_account(EVENTS)
    places = {(record.key, record.partition) for record in records}
    assert len(places) == len({record.key for record in records})


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_labels_never_arrive(kind: str, config: Path, tmp_path: Path) -> None:
    file = write(tmp_path / f"h.{kind}", LABELLED)
    assert replay(file, config).returncode == 0
    bodies = [orjson.loads(record.value) for record in read_all(config)]
    assert len(bodies) == len(LABELLED)
    assert not any("fraud" in body for body in bodies)


@pytest.mark.parametrize(
    ("kind", "text", "delay"),
    [
        ("parquet", "7d", timedelta(days=7)),
        ("csv", "36h", timedelta(hours=36)),
        ("jsonl", "15m", timedelta(minutes=15)),
        ("parquet", "365d", timedelta(days=365)),
    ],
)
def test_labels_follow_when_they_are_known(
    kind: str, text: str, delay: timedelta, shared: Path, config: Path, tmp_path: Path
) -> None:
    events = [{**event, "fraud": [0.0, None, 1.0][at % 3]} for at, event in enumerate(EVENTS)]
    file = write(tmp_path / f"h.{kind}", shuffled(events))
    done = replay(file, config, "--labels-delay", text, "--bundle", str(shared), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    wanted = labels_of(events, delay)
    assert orjson.loads(done.stdout)["labels"] == len(wanted)
    records = read_all(config, "labels")
    assert {record.key.decode(): orjson.loads(record.value) for record in records} == wanted
    assert len(records) == len(wanted)
    for partition in range(4):
        known = [orjson.loads(r.value)["known_at"] for r in records if r.partition == partition]
        assert known == sorted(known)
    assert len(read_all(config)) == len(events)


def test_labels_without_a_delay_stay_where_they_are(
    shared: Path, config: Path, tmp_path: Path
) -> None:
    done = replay(write(tmp_path / "h.parquet", LABELLED), config, "--bundle", str(shared))
    assert done.returncode == 0
    assert read_all(config, "labels") == []


def test_a_delay_needs_labels(shared: Path, config: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "h.parquet", EVENTS)
    done = replay(file, config, "--labels-delay", "7d", "--bundle", str(shared))
    assert done.returncode == 2
    assert "h.parquet has no numbers under 'fraud'; map it with --field" in error_line(done)
    assert read_all(config) == []


def test_a_model_that_uses_no_labels_is_told(config: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "h.parquet", LABELLED[:10])
    done = replay(
        file, config, "--labels-delay", "1s", "--bundle", str(tiny_bundle(tmp_path / "b"))
    )
    assert done.returncode == 0
    assert done.stderr == "the model tiny uses no labels: they change no score\n"


@pytest.mark.parametrize("delay", ["", "soon", "7"])
def test_a_wrong_delay_is_one_line(delay: str, tmp_path: Path) -> None:
    file = write(tmp_path / "h.parquet", LABELLED[:10])
    done = invoke("replay", file, f"--labels-delay={delay}", cwd=tmp_path)
    assert done.returncode == 2
    assert "--labels-delay must be a number and a unit of d, h, m or s" in error_line(done)


def test_json_tells_how_far_it_came(config: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "h.parquet", EVENTS)
    options = ("-c", config, "--json", "--until", EVENTS[1_000]["time"])
    done = riskstream("replay", file, *options, cwd=tmp_path)
    told = orjson.loads(done.stdout)
    wanted = [each for each in EVENTS if each["time"] < EVENTS[1_000]["time"]]
    assert told["published"] == len(wanted) == len(read_all(config))
    seconds = np.datetime64(wanted[-1]["time"].rstrip("Z"), "ms").astype(int)
    assert told["last_event_time_ms"] == seconds


def test_no_events_are_published_as_none(config: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "h.parquet", EVENTS)
    done = replay(file, config, "--from", "2030-01-01", "--json")
    assert (done.returncode, orjson.loads(done.stdout)["published"]) == (0, 0)
    assert read_all(config) == []


@pytest.mark.parametrize("speed", ["fast", "0", "-1", "nan", "inf", ""])
def test_a_wrong_speed_is_one_line(speed: str, tmp_path: Path) -> None:
    file = write(tmp_path / "h.parquet", EVENTS)
    done = invoke("replay", file, f"--speed={speed}", cwd=tmp_path)
    assert done.returncode == 2
    assert "--speed must be life, max, or a factor greater than 0" in error_line(done)
    assert repr(speed) in error_line(done)


def test_a_broker_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    address = f"127.0.0.1:{choose_port(None)}"
    file = write(tmp_path / "h.parquet", EVENTS)
    config = write_config(tmp_path, address)
    done = replay(file, config, RISKSTREAM_BROKER__CONNECT_TIMEOUT_S="0.5")
    assert done.returncode == 1
    assert f"Kafka must answer at broker.bootstrap = {address}" in error_line(done)


class Clock:
    """Seconds that go forward when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


TIMES = np.array([5_000, 5_000, 6_000, 8_000, 65_000], np.int64)


@pytest.mark.parametrize(
    ("speed", "elapsed_s", "due"),
    [
        (1.0, 0.0, 2),
        (1.0, 0.999, 2),
        (1.0, 1.0, 3),
        (1.0, 3.0, 4),
        (1.0, 59.9, 4),
        (60.0, 1.0, 5),
        (60.0, 0.051, 4),
        (0.5, 2.0, 3),
        (None, 0.0, 5),
    ],
)
def test_the_pace_says_how_many_events_are_due(
    speed: float | None, elapsed_s: float, due: int
) -> None:
    clock = Clock()
    pace = Pace(int(TIMES[0]), speed, clock)
    clock.now_s += elapsed_s
    assert pace.due(TIMES) == due


def test_the_pace_holds_for_what_is_left() -> None:
    clock = Clock()
    pace = Pace(5_000, 10.0, clock)
    clock.now_s += 0.1
    assert pace.due(TIMES) == 3
    assert pace.due(TIMES[3:]) == 0
    clock.now_s += 0.2
    assert pace.due(TIMES[3:]) == 1


def test_an_interrupted_replay_can_be_gone_on_with(config: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "h.parquet", EVENTS)
    running = start("replay", file, "-c", config, "--speed", "36000", cwd=tmp_path)
    wait_for(lambda: len(read_all(config)) >= 20, 60, "the first events to be published")
    running.send_signal(signal.SIGINT)
    stdout, stderr = running.communicate(timeout=60)
    assert (running.returncode, stdout) == (130, "")
    assert "Traceback" not in stderr
    found = re.fullmatch(r"stopped; go on with --from '([^']+)'\n", stderr)
    assert found, stderr
    first = read_all(config)
    assert 20 <= len(first) < len(EVENTS)
    assert replay(file, config, "--from", found[1]).returncode == 0
    bodies = [orjson.loads(record.value) for record in read_all(config)]
    assert {body["transaction_id"] for body in bodies} == {
        event["transaction_id"] for event in EVENTS
    }
    # What is after the time that it said is published, again or for the first time, and no more.
    since = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    assert len(bodies) == len(first) + sum(time_of(event) >= since for event in EVENTS)
