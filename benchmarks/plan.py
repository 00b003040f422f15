"""What is measured, in which order: everyone in turn, again and again."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from benchmarks import growth
from benchmarks.contestants import Contestant, batch_loop, contestants, variant
from benchmarks.flat import run_flat
from benchmarks.names import DEFAULT, ECHO, FAUST, QUIX, RISKSTREAM
from benchmarks.paced import RATES, run_paced
from benchmarks.setup import Bench, quix_python
from benchmarks.steadiness import Steadiness, probe
from benchmarks.traffic import expected, payments, publish

PARTS = ("flat", "paced", "growth")

#: Above these rates a contestant is not paced: it cannot follow.
_MOST_PER_S = {FAUST: 200.0, QUIX: 1_000.0}


#: What the broker is warmed up with: Java compiles what it does often while it does it.
_WARM_UP_RATES = (2_000.0, 10_000.0, 25_000.0)


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Args:
        parts: what is.
        only: the contestants; None for all.
        events, accounts, partitions: of the backlog.
        batches: sizes for the hand-written loop.
        repetitions: how often each is run, flat out and paced.
        limit_s: how long a contestant may take over the backlog.
        seconds: of each rate.
        device: where riskstream runs the graph.
        variants: settings of riskstream to measure beside its own.
        most_accounts: the most accounts that growth is measured with.
    """

    parts: tuple[str, ...] = PARTS
    only: tuple[str, ...] | None = None
    events: int = 300_000
    accounts: int = 10_000
    partitions: int = 4
    batches: tuple[int, ...] = (256, 1_024, 4_096)
    repetitions: int = 3
    limit_s: float = 12.0
    seconds: float = 8.0
    device: str = "cpu"
    variants: tuple[str, ...] = ()
    most_accounts: int = 1_000_000

    @classmethod
    def of(cls, given: argparse.Namespace) -> Plan:
        """Return the plan of a command line."""
        plan = cls(tuple(given.parts), given.only and tuple(given.only), device=given.device)
        plan = replace(plan, variants=tuple(given.variant))
        if given.quick:
            plan = replace(
                plan,
                events=60_000,
                batches=(1_024,),
                repetitions=1,
                limit_s=6.0,
                seconds=4.0,
                most_accounts=100_000,
            )
        said = {
            "events": given.events,
            "repetitions": given.repetitions,
            "batches": given.batches and tuple(given.batches),
        }
        return replace(plan, **{name: value for name, value in said.items() if value})

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)

    def contestants(self) -> list[Contestant]:
        """Return who takes part, in the order of a repetition."""
        found = contestants(quix_python() if self._wants(QUIX) else None)
        own = {"model.device": self.device, "topics.partitions": self.partitions}
        variants = [variant(each) for each in self.variants]
        loops = [batch_loop(each) for each in self.batches]
        every = [found.pop(RISKSTREAM), *variants, found.pop(DEFAULT), *loops, *found.values()]
        every = [
            replace(each, settings=own | dict(each.settings)) if each.module is None else each
            for each in every
        ]
        return [each for each in every if self._wants(each.name)]

    def _wants(self, name: str) -> bool:
        return self.only is None or any(name.startswith(each) for each in self.only)


def measure(bench: Bench, plan: Plan) -> dict[str, Any]:
    """Measure all parts of a plan; return every repetition."""
    found: dict[str, Any] = {}
    probes: list[Steadiness] = []
    every = plan.contestants()
    if "flat" in plan.parts:
        found["flat"] = _flat(bench, plan, every, probes)
    if {"paced", "growth"} & set(plan.parts):
        _warm_up_paced(bench, plan)
    if "paced" in plan.parts:
        half = _half_capacity(found)
        able = _without_slower_loops(every, found)
        found["paced"] = _paced(bench, plan, able, half, probes)
    own = [each for each in every if each.name == RISKSTREAM]
    if "growth" in plan.parts and own:
        found["growth"] = _growth(bench, plan, own[0])
    found["steadiness"] = [asdict(each) for each in probes]
    return found


def _growth(bench: Bench, plan: Plan, own: Contestant) -> dict[str, Any]:
    n, limit_s = plan.events // 2, plan.limit_s
    measured: dict[str, Callable[[], Any]] = {
        "accounts": lambda: growth.by_accounts(bench, own, n, plan.most_accounts, limit_s),
        "partitions": lambda: growth.by_partitions(bench, own, n, limit_s),
        "workers": lambda: growth.by_workers(bench, own, n, limit_s),
        "hot_account": lambda: growth.hot_account(bench, own, plan.seconds),
        "hand_over": lambda: growth.hand_over(bench, own, 2 * plan.seconds),
        "bytes_per_account": lambda: growth.store_bytes(bench),
    }
    found = {}
    for name, measure_one in measured.items():
        try:
            found[name] = measure_one()
            tell(f"growth, {name}: {found[name]}")
        except (RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
            tell(f"growth, {name} failed: {error}")
    return found


def _flat(
    bench: Bench, plan: Plan, every: list[Contestant], probes: list[Steadiness]
) -> dict[str, list[dict[str, Any]]]:
    records = payments(plan.events, plan.accounts)
    bench.make_topic("backlog", plan.partitions)
    publish(bench.bootstrap, "backlog", records)
    reference = expected(bench.bundle, records)
    found: dict[str, list[dict[str, Any]]] = {each.name: [] for each in every}
    _warm_up(bench, plan)
    for repetition, each in _turns(plan, every, probes):
        bench.forget_states()
        try:
            result = run_flat(
                bench,
                each,
                "backlog",
                plan.events,
                group=f"flat-{_slug(each)}-{repetition}",
                partitions=plan.partitions,
                limit_s=plan.limit_s,
                reference=None if each.name in (ECHO, DEFAULT) else reference,
            )
        except (RuntimeError, TimeoutError) as error:
            tell(f"flat out, {each.name} failed: {error}")
            continue
        found[each.name].append(result.to_dict())
        tell(f"flat out, {each.name}: {result.events_per_s:,.0f}/s, {result.cpu_us:.1f} us")
    return found


def _warm_up(bench: Bench, plan: Plan) -> None:
    """Read the backlog once, so that nobody is first at a broker that has just begun."""
    echo = contestants(None)[ECHO]
    group, n = "warm-up", plan.events
    run_flat(
        bench, echo, "backlog", n, group=group, partitions=plan.partitions, limit_s=plan.limit_s
    )


def _warm_up_paced(bench: Bench, plan: Plan) -> None:
    """Have the broker take small requests for a while: one that has just begun is slow at them."""
    echo, n = contestants(None)[ECHO], plan.partitions
    run_paced(bench, echo, _WARM_UP_RATES, group="warm", partitions=n, seconds=plan.seconds)


def _paced(
    bench: Bench,
    plan: Plan,
    every: list[Contestant],
    half: float | None,
    probes: list[Steadiness],
) -> dict[str, list[list[dict[str, Any]]]]:
    found: dict[str, list[list[dict[str, Any]]]] = {each.name: [] for each in every}
    rates = [*RATES, *([half] if half else [])]
    for repetition, each in _turns(plan, every, probes):
        bench.forget_states()
        able = [rate for rate in rates if rate <= _MOST_PER_S.get(each.name, rate)]
        try:
            results = run_paced(
                bench,
                each,
                able,
                group=f"paced-{_slug(each)}-{repetition}",
                partitions=plan.partitions,
                seconds=plan.seconds,
            )
        except (RuntimeError, subprocess.SubprocessError) as error:
            tell(f"paced, {each.name} failed: {error}")
            continue
        found[each.name].append([asdict(one) for one in results])
        shown = ", ".join(f"{one.rate:,.0f}/s {one.p50_ms:.1f}/{one.p99_ms:.1f}" for one in results)
        tell(f"paced, {each.name}: {shown} ms")
    return found


def _turns(
    plan: Plan, every: list[Contestant], probes: list[Steadiness]
) -> Iterator[tuple[int, Contestant]]:
    """Yield whose turn it is, after a look at how steady the machine is."""
    for repetition in range(plan.repetitions):
        for each in every:
            probes.append(probe())
            yield repetition, each


def _half_capacity(found: dict[str, Any]) -> float | None:
    runs = found.get("flat", {}).get(RISKSTREAM)
    return round(median(each["events_per_s"] for each in runs) / 2, -2) if runs else None


def _without_slower_loops(every: list[Contestant], found: dict[str, Any]) -> list[Contestant]:
    """Keep one hand-written loop: that of the best batch size."""
    loops = [each for each in every if each.name.startswith("batch loop")]
    flat = found.get("flat", {})

    def speed(each: Contestant) -> float:
        return median([run["events_per_s"] for run in flat.get(each.name, [])] or [0.0])

    best = max(loops, key=speed, default=None)
    return [each for each in every if each is best or each not in loops]


def _slug(contestant: Contestant) -> str:
    return re.sub("[^A-Za-z0-9.]+", "-", contestant.name)


def tell(line: str) -> None:
    """Say how far it is."""
    print(line, file=sys.stderr, flush=True)
