"""Whether a stream gives the scores of the core: the Handbook's transactions through Kafka.

    KAFKA_HOME=/opt/kafka python benchmarks/handbook_stream.py --data handbook-transactions.parquet

Sixty days warm up, and every score of the week after them is compared with what `riskstream score`
gives: labels seven days late on their topic, four partitions, two workers, replayed flat out. With
--backfill the sixty days are not streamed but loaded, and only the week is.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from aiokafka import AIOKafkaConsumer

from engine.bundle import Bundle
from engine.history import History
from riskstream.contents import compute_content
from riskstream.histories import Scoring, score_history
from riskstream.options import load_bundle
from streams.backfill import GoOn, Source, load
from streams.configuration import load_settings
from streams.embedded.broker import EmbeddedBroker
from streams.embedded.kafka import ApacheKafka, why_not
from streams.embedded.valkey import EmbeddedValkey
from streams.embedded.worker import EmbeddedWorker
from streams.kafka import client_options
from streams.replay import Labels, replay
from streams.settings import Settings

DAY_MS = 86_400_000
DELAY_MS = 7 * DAY_MS
FIELDS = {
    "event_id": "TRANSACTION_ID",
    "event_time": "TX_DATETIME",
    "account": "CUSTOMER_ID",
    "terminal": "TERMINAL_ID",
    "amount": "TX_AMOUNT",
    "fraud": "TX_FRAUD",
}


@dataclass(frozen=True)
class Case:
    """A history, where its compared part begins, and the scores that the core gives to that."""

    history: History
    split: int
    expected: dict[str, float]


def new_case(arguments: argparse.Namespace, bundle: Bundle, settings: Settings) -> Case:
    schema = bundle.manifest.schema.with_paths(settings.fields)
    whole = History.open(arguments.data, schema)
    start_ms = int(whole.event_time_ms[0]) // DAY_MS * DAY_MS
    cut_ms = start_ms + arguments.warm_up * DAY_MS
    end = int(np.searchsorted(whole.event_time_ms, cut_ms + arguments.days * DAY_MS))
    history = whole.slice(0, end)
    expected: dict[str, float] = {}
    for _, batch in score_history(history, bundle, settings, Scoring(DELAY_MS)):
        rows = batch.columns.event_time_ms >= cut_ms
        ids = np.array(batch.columns.event_ids)[rows].tolist()
        expected |= dict(zip(ids, batch.scored.scores[rows].tolist(), strict=True))
    return Case(history, int(np.searchsorted(history.event_time_ms, cut_ms)), expected)


async def backfill(case: Case, bundle: Bundle, settings: Settings) -> None:
    past = case.history.slice(0, case.split)
    content, _ = compute_content(past, bundle, settings, Scoring(DELAY_MS))
    source = Source("benchmark", int(past.event_time_ms[-1]), GoOn.TIME)
    await load(settings, bundle.manifest, content, source, lambda _: None)


async def stream(case: Case, settings: Settings, skip: bool) -> dict[str, float]:
    """Replay, and return each compared event's first score."""
    past, rest = case.history.slice(0, case.split), case.history
    labels = Labels(DELAY_MS)
    if skip:
        labels.add_earlier(past)
        rest = case.history.slice(case.split, len(case.history))
    publishing = asyncio.create_task(replay(settings, rest, None, lambda _: None, labels))
    found: dict[str, float] = {}
    consumer = AIOKafkaConsumer(
        settings.topics.scores, auto_offset_reset="earliest", **client_options(settings.broker)
    )
    await consumer.start()
    try:
        end_s = time.monotonic() + 1_800
        while len(found) < len(case.expected) and time.monotonic() < end_s:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for body in (orjson.loads(record.value) for record in records):
                    if body["event_id"] in case.expected:
                        found.setdefault(body["event_id"], body["score"])
    finally:
        await consumer.stop()
    await publishing
    return found


def run(arguments: argparse.Namespace, directory: Path) -> int:
    with ExitStack() as stack:
        home = os.environ.get("KAFKA_HOME")
        broker: Any = EmbeddedBroker(directory)
        if home and why_not(home) is None:
            broker = ApacheKafka(home, directory, heap_mb=1024)
        stack.enter_context(broker)
        valkey = stack.enter_context(EmbeddedValkey(directory))
        values: dict[str, Any] = {
            "app.id": "handbook",
            "broker.bootstrap": broker.bootstrap,
            "topics.partitions": arguments.partitions,
            "state.url": valkey.url,
            **{f"fields.{name}": column for name, column in FIELDS.items()},
        }
        settings = load_settings(None, values)
        bundle = load_bundle(settings)
        began_s = time.monotonic()
        case = new_case(arguments, bundle, settings)
        scored_s = time.monotonic() - began_s
        if arguments.backfill:
            asyncio.run(backfill(case, bundle, settings))
        for at in range(arguments.workers):
            worker = EmbeddedWorker(directory, values, name=f"worker-{at}")
            stack.enter_context(worker)
        began_s = time.monotonic()
        found = asyncio.run(stream(case, settings, arguments.backfill))
        streamed_s = time.monotonic() - began_s
    missing = len(case.expected) - len(found)
    difference = max((abs(found[each] - case.expected[each]) for each in found), default=0.0)
    streamed = len(case.history) - (case.split if arguments.backfill else 0)
    print(
        f"{type(broker).__name__}, {arguments.partitions} partitions, {arguments.workers} workers"
    )
    print(f"core:    {len(case.history):,} events in {scored_s:.0f} s")
    print(f"stream:  {streamed:,} events in {streamed_s:.0f} s, with their labels")
    print(
        f"compared {len(found):,} scores: {missing:,} missing, largest difference {difference:.2e}"
    )
    return 1 if missing or difference > arguments.tolerance else 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the Handbook's transactions")
    parser.add_argument("--warm-up", type=int, default=60, help="days before those compared")
    parser.add_argument("--days", type=int, default=7, help="days compared")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--backfill", action="store_true", help="load the warm-up")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    arguments = parser.parse_args()
    if not arguments.data.is_file():
        print(f"skipped: there is no file {arguments.data}", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as directory:
        sys.exit(run(arguments, Path(directory)))


if __name__ == "__main__":
    main()
