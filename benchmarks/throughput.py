"""How many events a second one worker scores when a backlog waits, and what each costs.

    python benchmarks/throughput.py --events 300000 --runs 3

Starts Apache Kafka from $KAFKA_HOME/libs where there is one (the embedded broker otherwise, named
in the output) and an embedded Valkey; publishes the events; then starts a worker and measures from
its first score to its last. Every score is published and acknowledged, every state written.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import orjson

from engine.records import Record
from models.packs.registry import pack_folder
from streams.configuration import load_settings
from streams.embedded.broker import EmbeddedBroker
from streams.embedded.kafka import ApacheKafka, why_not
from streams.embedded.valkey import EmbeddedValkey
from streams.embedded.worker import EmbeddedWorker
from streams.publisher import open_publisher
from streams.settings import Settings

_TICK = os.sysconf("SC_CLK_TCK")


def events(n: int, accounts: int, terminals: int, seed: int = 0) -> list[Record]:
    """Make up ``n`` card payments, a second apart."""
    rng = np.random.default_rng(seed)
    cards = rng.integers(0, accounts, n).tolist()
    places = rng.integers(0, terminals, n).tolist()
    amounts = np.round(rng.lognormal(3.5, 0.8, n), 2).tolist()
    times = (np.datetime64("2026-01-01") + np.arange(n).astype("timedelta64[s]")).tolist()
    return [
        Record(
            str(card).encode(),
            orjson.dumps(
                {
                    "transaction_id": str(at),
                    "time": moment.isoformat() + "Z",
                    "card_id": str(card),
                    "terminal_id": str(place),
                    "amount": amount,
                }
            ),
        )
        for at, (card, place, amount, moment) in enumerate(
            zip(cards, places, amounts, times, strict=True)
        )
    ]


async def publish(settings: Settings, records: list[Record]) -> None:
    async with open_publisher(settings) as publisher:
        for start in range(0, len(records), 10_000):
            part = records[start : start + 10_000]
            await publisher.publish({settings.topics.transactions: [(None, part)]})


def measure(worker: EmbeddedWorker, n: int, limit_s: float = 300.0) -> dict[str, float]:
    """Start the worker, and watch its own count of acknowledged scores until all are there."""
    began_s = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(worker.start)
        start = _wait_for(worker, 1, began_s + limit_s)
        end = _wait_for(worker, n, began_s + limit_s)
        starting.result()
    scored = end.count - start.count
    return {
        "events_per_s": scored / (end.at_s - start.at_s),
        "cpu_us_per_event": (end.cpu_s - start.cpu_s) / scored * 1e6,
        "first_score_s": start.at_s - began_s,
        "rss_mb": rss_mb(worker.pid),
    }


@dataclass(frozen=True)
class Mark:
    """How many scores there were at a moment, and the CPU time the worker had taken by then."""

    count: int
    at_s: float
    cpu_s: float


def _wait_for(worker: EmbeddedWorker, least: int, end_s: float) -> Mark:
    while time.monotonic() < end_s:
        count = _scores(worker.get("/metrics") or b"")
        if count >= least:
            return Mark(count, time.monotonic(), cpu_s(worker.pid))
        time.sleep(0.05)
    raise TimeoutError(f"{count:,} of {least:,} events scored; {worker.log_tail()}")


def _scores(page: bytes) -> int:
    lines = [line for line in page.splitlines() if line.startswith(b"riskstream_scores_total{")]
    return int(sum(float(line.rsplit(b" ", 1)[1]) for line in lines))


def cpu_s(pid: int | None) -> float:
    """User and system time of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def rss_mb(pid: int | None) -> float:
    """Resident memory of a process (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def run(arguments: argparse.Namespace, directory: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        home = os.environ.get("KAFKA_HOME")
        if home and why_not(home) is None:
            broker: Any = ApacheKafka(home, directory, heap_mb=1024)
            name = "Apache Kafka"
        else:
            broker, name = EmbeddedBroker(directory), "embedded broker (Tansu)"
        stack.enter_context(broker)
        valkey = stack.enter_context(EmbeddedValkey(directory))
        records = events(arguments.events, arguments.accounts, arguments.accounts * 2)
        runs = []
        for at in range(arguments.runs):
            values = _settings(at, broker.bootstrap, valkey.url, arguments)
            settings = load_settings(None, values)
            asyncio.run(publish(settings, records))
            worker = EmbeddedWorker(directory, values, name=f"worker-{at}")
            stack.callback(worker.stop)
            runs.append(measure(worker, len(records)))
            worker.stop()
            print(_line(f"run {at + 1}", runs[-1]), file=sys.stderr)
    return {"broker": name, "runs": runs}


def _settings(at: int, bootstrap: str, url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "app.id": f"bench-{at}",
        "broker.bootstrap": bootstrap,
        "topics.partitions": arguments.partitions,
        **{
            f"topics.{name}": f"{name}-{at}"
            for name in ("transactions", "labels", "scores", "alerts", "dead_letters")
        },
        "state.url": url,
        "model.bundle": str(pack_folder("fraud") / "bundle"),
        "worker.max_batch": arguments.max_batch,
    }


def _line(name: str, found: dict[str, float]) -> str:
    return (
        f"| {name} | {found['events_per_s']:,.0f} | {found['cpu_us_per_event']:.1f} | "
        f"{found['first_score_s']:.1f} | {found['rss_mb']:,.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--max-batch", type=int, default=2_048)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where the figures go")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        found = run(arguments, Path(directory))
    middle = {name: median(each[name] for each in found["runs"]) for name in found["runs"][0]}
    found |= {
        "median": middle,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "settings": {k: v for k, v in vars(arguments).items() if k != "json"},
        "versions": {
            name: version(name)
            for name in ("riskstream", "faust-streaming", "aiokafka", "onnxruntime-gpu")
        },
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"{found['broker']}, {found['machine']}, shared by broker, store and worker\n")
    print("| | events/s | worker CPU, us an event | first score, s | memory, MB |")
    print("| --- | --- | --- | --- | --- |")
    for at, each in enumerate(found["runs"]):
        print(_line(f"run {at + 1}", each))
    print(_line("median", middle))


if __name__ == "__main__":
    main()
