"""Measure riskstream beside other ways to do the same, on the same topic in the same run.

    python -m benchmarks --quick
    python -m benchmarks --parts flat paced --out docs/benchmarks

Writes a table (Markdown) and every repetition (JSON). Apache Kafka is started from $KAFKA_HOME/libs
where there is one, and the embedded broker otherwise; the output says which.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.plan import PARTS, Plan, measure
from benchmarks.report import to_markdown
from benchmarks.setup import opened


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these contestants")
    parser.add_argument("--quick", action="store_true", help="small sizes, one repetition")
    parser.add_argument("--events", type=int, help="events that wait, flat out")
    parser.add_argument("--repetitions", type=int)
    parser.add_argument("--batches", type=int, nargs="+", help="sizes for the hand-written loop")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "tensorrt"), default="cpu")
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="SETTING=VALUE,…",
        help="riskstream with settings, beside its own; may be repeated",
    )
    parser.add_argument("--out", type=Path, help="folder for benchmark.md and benchmark.json")
    given = parser.parse_args()
    plan = Plan.of(given)
    began_s = time.monotonic()
    found: dict[str, Any] = {"machine": machine.describe(), "versions": machine.versions()}
    with tempfile.TemporaryDirectory() as directory, opened(Path(directory)) as bench:
        found |= {"broker": bench.broker, "plan": plan.to_dict(), **measure(bench, plan)}
    found["took_s"] = round(time.monotonic() - began_s)
    table = to_markdown(found)
    print(table)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(found, indent=1) + "\n"
        (given.out / "benchmark.json").write_text(text, encoding="utf-8")
        (given.out / "benchmark.md").write_text(table, encoding="utf-8")
        print(f"written to {given.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
