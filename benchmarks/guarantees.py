"""What each guarantee costs: events a second from a backlog, and latency at a steady rate.

    python -m benchmarks.guarantees
    python -m benchmarks.guarantees --events 50000 --seconds 5 --rates 500

Needs Apache Kafka in $KAFKA_HOME: the embedded broker has no transactions. The bundle is the one
that comes with riskstream. Scores are read with read_committed, so that under exactly_once the
latency ends where the transaction is committed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import machine
from benchmarks.contestants import DEFAULT, Contestant
from benchmarks.flat import Flat, run_flat
from benchmarks.paced import Paced, run_paced
from benchmarks.setup import Bench
from benchmarks.traffic import payments, publish
from models.packs.registry import pack_folder
from streams.embedded.kafka import ApacheKafka, why_not
from streams.embedded.valkey import EmbeddedValkey
from streams.settings import Guarantee

_LIMIT_S = 300.0


@dataclass(frozen=True)
class Cost:
    """What was measured of one guarantee: a backlog, and each rate."""

    guarantee: str
    flat: Flat
    paced: Sequence[Paced]


def measure(bench: Bench, guarantee: Guarantee, arguments: argparse.Namespace) -> Cost:
    """Measure a worker with one guarantee."""
    worker = Contestant(DEFAULT, None, settings={"app.guarantee": str(guarantee)})
    name, partitions = str(guarantee).replace("_", "-"), arguments.partitions
    source = f"backlog-{name}"
    bench.make_topic(source, partitions)
    publish(bench.bootstrap, source, payments(arguments.events, arguments.accounts))
    flat = run_flat(
        bench,
        worker,
        source,
        arguments.events,
        group=f"flat-{name}",
        partitions=partitions,
        limit_s=_LIMIT_S,
    )
    paced = run_paced(
        bench,
        worker,
        arguments.rates,
        group=f"paced-{name}",
        partitions=partitions,
        seconds=arguments.seconds,
        accounts=arguments.accounts,
    )
    return Cost(str(guarantee), flat, paced)


def table(costs: Sequence[Cost]) -> str:
    """Return the costs as a table, a line for each guarantee."""
    rates = [f"{each.rate:,.0f} events/s: p50 / p99, ms" for each in costs[0].paced]
    lines = [
        f"| guarantee | backlog, events/s | CPU, us an event | {' | '.join(rates)} |",
        f"| --- | --- | --- | {' | '.join('---' for _ in rates)} |",
    ]
    for each in costs:
        latencies = [f"{paced.p50_ms:.0f} / {paced.p99_ms:.0f}" for paced in each.paced]
        lines.append(
            f"| `{each.guarantee}` | {each.flat.events_per_s:,.0f} | {each.flat.cpu_us:.0f} | "
            f"{' | '.join(latencies)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.guarantees",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rates", type=float, nargs="+", default=[200.0, 1_000.0])
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--json", type=Path, help="where the figures go")
    arguments = parser.parse_args()
    home = os.environ.get("KAFKA_HOME", "")
    reason = why_not(home) if home else "KAFKA_HOME is not set"
    if reason:
        sys.exit(f"the guarantees need Apache Kafka, however: {reason}")
    before = machine.describe()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with ApacheKafka(home, directory) as kafka, EmbeddedValkey(directory) as valkey:
            bundle = pack_folder("fraud") / "bundle"
            bench = Bench(kafka.bootstrap, "Apache Kafka", valkey.url, bundle, directory)
            costs = [measure(bench, each, arguments) for each in Guarantee]
    if arguments.json:
        found = {"machine": before, "costs": [asdict(each) for each in costs]}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"{before['cores']} cores shared by all, load {before['load_before']:.1f} before\n")
    print(table(costs))


if __name__ == "__main__":
    main()
