"""Break things under a running stream, and compare what comes out with the truth.

    python -m tests.chaos                                   every scenario, long ones left out
    python -m tests.chaos kills --strikes 100 --events 500000 --accounts 20000
    python -m tests.chaos kills --seed 1712 --guarantee exactly_once

Needs Apache Kafka in $KAFKA_HOME. Prints one line a scenario; a seed runs it again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from streams.embedded.kafka import why_not
from tests.chaos.running import play
from tests.chaos.scenarios import SCENARIOS, Scenario
from tests.chaos.world import Plan


def main() -> None:
    arguments = _parser().parse_args()
    home = os.environ.get("KAFKA_HOME", "")
    reason = why_not(home) if home else "KAFKA_HOME is not set"
    if reason:
        sys.exit(f"chaos needs Apache Kafka, however: {reason}")
    names = arguments.scenario or [name for name, each in SCENARIOS.items() if not each.is_long]
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        sys.exit(f"a scenario must be one of {', '.join(SCENARIOS)}, however: {unknown[0]}")
    results = [
        _play(name, guarantee, arguments)
        for name in names
        for guarantee in _guarantees(SCENARIOS[name], arguments.guarantee)
    ]
    sys.exit(0 if all(results) else 1)


def _guarantees(scenario: Scenario, wanted: str | None) -> tuple[str, ...]:
    return scenario.guarantees if wanted is None else (wanted,)


def _play(name: str, guarantee: str, arguments: argparse.Namespace) -> bool:
    """Run a scenario with one guarantee, print its line, and return whether all was well."""
    scenario = SCENARIOS[name]
    seed = random.SystemRandom().randrange(10_000) if arguments.seed is None else arguments.seed
    plan = Plan(
        seed,
        guarantee,
        arguments.events or scenario.events,
        arguments.accounts or scenario.accounts,
        arguments.strikes or scenario.strikes,
    )
    began_s = time.monotonic()
    with ExitStack() as stack:
        keep = arguments.keep
        directory = Path(keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos")))
        place = directory / f"{name}-{guarantee}-{seed}"
        try:
            facts = asyncio.run(
                play(scenario, replace(plan), Path(os.environ["KAFKA_HOME"]), place)
            )
            said = "; ".join(facts)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            if arguments.verbose:
                traceback.print_exc()
            is_well = False
        else:
            is_well = True
    took_s = time.monotonic() - began_s
    verdict = "ok  " if is_well else "FAIL"
    sizes = f"{plan.events:,} events, {plan.accounts:,} accounts"
    print(f"{verdict} {name} {guarantee} seed {seed}: {sizes}; {said}; {took_s:.0f} s", flush=True)
    return is_well


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("scenario", nargs="*", help=", ".join(SCENARIOS))
    parser.add_argument("--seed", type=int, help="runs a scenario again; at random if not given")
    parser.add_argument("--guarantee", choices=("at_least_once", "exactly_once"))
    parser.add_argument("--events", type=int)
    parser.add_argument("--accounts", type=int)
    parser.add_argument("--strikes", type=int, help="how often workers are struck")
    parser.add_argument("--keep", type=Path, help="where files go, to be looked at afterwards")
    parser.add_argument("--verbose", action="store_true", help="print tracebacks")
    return parser


if __name__ == "__main__":
    main()
