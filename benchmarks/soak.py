"""A worker for half an hour at half load: its memory must stay flat, and its log without warnings.

    python -m benchmarks.soak --minutes 30
    python -m benchmarks.soak --minutes 5 --rate 1000 --guarantee exactly_once

Needs Apache Kafka in $KAFKA_HOME. First the speed at which one worker takes a backlog is measured;
half of it, at most --most events a second, is then published for as long as was asked, with labels
for one event in ten. Memory is the worker's resident memory, read every five seconds. Exits with 1
where it grew by more than 2 % over the last two thirds of the time, where something was logged at
WARNING or above, or where an event has no score at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson

from benchmarks.traffic import payments, publish
from engine.records import Record
from models.packs.registry import pack_folder
from streams.configuration import load_settings
from streams.embedded.kafka import ApacheKafka, why_not
from streams.embedded.valkey import EmbeddedValkey
from streams.embedded.worker import EmbeddedWorker
from streams.kafka import ensure_topics
from streams.publisher import open_publisher
from streams.settings import Settings

_LOOK_EVERY_S = 5.0
_TICK_S = 0.1
_BACKLOG = 60_000
_MOST_GROWN = 0.02
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Soak:
    """What a run came to.

    Args:
        rate: events a second that were published.
        samples: the worker's memory in bytes, in the order of time.
        published, scored: events.
        warnings: lines of the log at WARNING or above.
    """

    rate: float
    samples: list[int] = field(default_factory=list)
    published: int = 0
    scored: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def grown(self) -> float:
        """How much the memory grew over the last two thirds, by a straight line through it."""
        last = np.array(self.samples[len(self.samples) // 3 :], dtype=np.float64)
        slope, start = np.polyfit(np.arange(len(last)), last, 1)
        return float(slope * (len(last) - 1) / start)

    @property
    def is_well(self) -> bool:
        """Whether everything is as it must be."""
        flat = self.grown <= _MOST_GROWN
        return flat and not self.warnings and self.scored == self.published


def scored(worker: EmbeddedWorker) -> int:
    """Return how many scores a worker has published."""
    lines = (worker.get("/metrics") or b"").splitlines()
    found = [line for line in lines if line.startswith(b"riskstream_scores_total{")]
    return int(sum(float(line.rsplit(b" ", 1)[1]) for line in found))


def until_scored(worker: EmbeddedWorker, events: int, within_s: float) -> float:
    """Wait until a worker has scored so many events, and return the seconds it took."""
    began_s = time.monotonic()
    while scored(worker) < events:
        if time.monotonic() > began_s + within_s:
            raise TimeoutError(f"{scored(worker):,} of {events:,} events scored")
        time.sleep(0.2)
    return time.monotonic() - began_s


def live(events: Sequence[Record]) -> list[Record]:
    """Return events that happen now."""
    now = datetime.now(UTC).isoformat()
    return [
        Record(each.key, orjson.dumps({**orjson.loads(each.value or b""), "time": now}))
        for each in events
    ]


def labels(events: Sequence[Record]) -> list[Record]:
    """Return labels for one event in ten."""
    now = datetime.now(UTC).isoformat()
    ids = [orjson.loads(each.value or b"")["transaction_id"] for each in events[::10]]
    return [
        Record(each.encode(), orjson.dumps({"event_id": each, "fraud": False, "known_at": now}))
        for each in ids
    ]


async def load(soak: Soak, worker: EmbeddedWorker, settings: Settings, minutes: float) -> None:
    """Publish at the rate, and read the worker's memory meanwhile."""
    topics, end_s = settings.topics, time.monotonic() + 60 * minutes
    looked_s, due = 0.0, time.monotonic()
    before: list[Record] = []
    ticks = itertools.count()
    async with open_publisher(settings) as publisher:
        while time.monotonic() < end_s:
            at, n = next(ticks), round(soak.rate * _TICK_S)
            part = live(payments(n, 10_000, prefix=f"{at}-", seed=at))
            await publisher.publish(
                {topics.labels: [(None, labels(before))], topics.transactions: [(None, part)]}
            )
            soak.published, before = soak.published + len(part), part
            if time.monotonic() - looked_s >= _LOOK_EVERY_S:
                soak.samples.append(_rss(worker))
                looked_s = time.monotonic()
            due += _TICK_S
            await asyncio.sleep(max(due - time.monotonic(), 0))


def run(arguments: argparse.Namespace, directory: Path, kafka: str, store: str) -> Soak:
    """Measure the speed, then soak the worker at half of it."""
    values = {
        "app.id": "soak",
        "app.guarantee": arguments.guarantee,
        "broker.bootstrap": kafka,
        "state.url": store,
        "model.bundle": str(pack_folder("fraud") / "bundle"),
    }
    settings = load_settings(None, values)
    asyncio.run(ensure_topics(settings))
    publish(kafka, settings.topics.transactions, payments(_BACKLOG, 10_000))
    with EmbeddedWorker(directory, values) as worker:
        until_scored(worker, _BACKLOG // 4, 600)
        left = _BACKLOG - scored(worker)
        full = left / max(until_scored(worker, _BACKLOG, 600), 0.1)
        soak = Soak(arguments.rate or min(full / 2, arguments.most))
        print(
            f"{full:,.0f} events/s from a backlog; {soak.rate:,.0f} for {arguments.minutes:g} min"
        )
        asyncio.run(load(soak, worker, settings, arguments.minutes))
        until_scored(worker, _BACKLOG + soak.published, 300)
        soak.scored = scored(worker) - _BACKLOG
        log = worker.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        soak.warnings = [each for each in log if " WARNING " in each or " ERROR " in each]
    return soak


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, help="events a second; half the speed if not given")
    parser.add_argument("--most", type=float, default=5_000.0, help="the most of half the speed")
    parser.add_argument(
        "--guarantee", choices=("at_least_once", "exactly_once"), default="at_least_once"
    )
    arguments = parser.parse_args()
    home = os.environ.get("KAFKA_HOME", "")
    reason = why_not(home) if home else "KAFKA_HOME is not set"
    if reason:
        sys.exit(f"the soak needs Apache Kafka, however: {reason}")
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with ApacheKafka(home, directory) as kafka, EmbeddedValkey(directory) as valkey:
            soak = run(arguments, directory, kafka.bootstrap, valkey.url)
    for line in soak.warnings[:20]:
        print(line)
    first, last = soak.samples[len(soak.samples) // 3] / 1e6, soak.samples[-1] / 1e6
    print(
        f"{'ok' if soak.is_well else 'FAIL'}: {soak.scored:,} of {soak.published:,} events scored; "
        f"memory {first:,.0f} MB after a third, {last:,.0f} MB at the end, {soak.grown:+.1%} by a "
        f"straight line; {len(soak.warnings)} warnings"
    )
    sys.exit(0 if soak.is_well else 1)


def _rss(worker: EmbeddedWorker) -> int:
    return int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1]) * _PAGE


if __name__ == "__main__":
    main()
