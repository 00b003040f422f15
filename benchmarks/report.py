"""The results as Markdown: medians of the repetitions, and how far these lie apart.

    python -m benchmarks.report docs/benchmark/benchmark.json

puts the short table of a run into README.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.names import RISKSTREAM

Row = Sequence[str]

BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"

_SHOWN_PER_S = 1_000


def to_markdown(found: dict[str, Any]) -> str:
    """Return all that was measured."""
    parts = [_head(found)]
    if "flat" in found:
        parts.append(_flat(found["flat"], found["plan"]))
    if "paced" in found:
        parts.append(_paced(found["paced"], found["plan"]))
    if RISKSTREAM in found.get("flat", {}):
        parts.append(_steps(found["flat"]))
    if "growth" in found:
        parts.append(_growth(found["growth"]))
    return "\n\n".join(parts) + "\n"


def to_readme(found: dict[str, Any]) -> str:
    """Return the short table for README.md, with what it was measured on."""
    flat, paced, machine = found["flat"], found.get("paced", {}), found["machine"]
    rows = []
    for name, runs in flat.items():
        if not runs:
            continue
        at_1000 = [
            one for each in paced.get(name, []) for one in each if one["rate"] == _SHOWN_PER_S
        ]
        shown = "p50_ms", "p99_ms"
        latency = " / ".join(f"{_middle(at_1000, key):.1f}" for key in shown) if at_1000 else ""
        speed, cpu = _middle(runs, "events_per_s"), _middle(runs, "cpu_us")
        rows.append((name, f"{speed:,.0f}", f"{cpu:.1f}", latency))
    rows.sort(key=lambda row: -float(row[1].replace(",", "")))
    head = ("", "events/s", "CPU, µs an event", f"p50 / p99 at {_SHOWN_PER_S:,}/s, ms")
    return (
        f"{found['broker']} on {machine['cores']} cores of {machine['processor']}, shared by "
        f"broker, store, load and contestant; load average before {machine['load_before']:.1f}"
        f"{_busy(machine)}; medians of {found['plan']['repetitions']} repetitions in turn.\n\n"
        + _table(head, rows)
    )


def write_readme(readme: Path, found: dict[str, Any]) -> None:
    """Put the short table between the marks of a README."""
    text = readme.read_text("utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{to_readme(found)}\n{END}{after}", "utf-8")


def _head(found: dict[str, Any]) -> str:
    machine, versions = found["machine"], found["versions"]
    return (
        "# Benchmark\n\n"
        f"{found['broker']}, {machine['cores']} cores ({machine['processor']}, "
        f"{machine['memory_gb']:g} GB) shared by broker, store, load and contestant; load average "
        f"before {machine['load_before']:.1f}{_busy(machine)}; Python {machine['python']}, "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f". Taken in {found['took_s'] / 60:.0f} minutes."
        + _steadiness(found)
    )


def _steadiness(found: dict[str, Any]) -> str:
    """Return how steady the machine was, where that was tried."""
    probes = found.get("steadiness")
    if not probes:
        return ""
    at_once, after = (
        f"{_middle(probes, key):.0f} µs ({_range(probes, key, '.0f')})"
        for key in ("at_once_us", "after_us")
    )
    return (
        f"\n\nThe same small work, tried before each of {len(probes)} turns, took {at_once} right "
        f"after itself, and {after} after some milliseconds of other work. On a machine of one's "
        "own both are near the least; what lies above is what others took of the cores and caches."
    )


def _busy(machine: dict[str, Any]) -> str:
    """Return a warning where others wanted the machine too."""
    is_busy = machine["load_before"] > machine["cores"] / 2
    return " (other work was running: compare the rows, not with elsewhere)" if is_busy else ""


def _flat(runs: dict[str, list[dict[str, Any]]], plan: dict[str, Any]) -> str:
    own = _middle(runs.get(RISKSTREAM, []), "events_per_s")
    rows = []
    for name, each in runs.items():
        if not each:
            rows.append((name, "failed", *[""] * 5))
            continue
        speed = _middle(each, "events_per_s")
        ratio = own / speed if own else 0.0
        differences = [one["largest_difference"] for one in each]
        worst = "" if None in differences else f"{max(differences):.0e}"
        rows.append(
            (
                name,
                f"{speed:,.0f} ({_range(each, 'events_per_s', ',.0f')})",
                f"{ratio:.2f}",
                f"{_middle(each, 'cpu_us'):.1f} ({_range(each, 'cpu_us', '.1f')})",
                f"{_middle(each, 'peak_mb'):,.0f}",
                f"{_middle(each, 'first_score_s'):.1f}",
                worst,
            )
        )
    head = (
        "",
        "events/s",
        "riskstream is faster by",
        "CPU, µs an event",
        "peak memory, MB",
        "first score, s",
        "largest difference from the core's scores",
    )
    return (
        f"## Flat out\n\nA backlog of {plan['events']:,} events of {plan['accounts']:,} accounts "
        f"in {plan['partitions']} partitions, at most {plan['limit_s']:g} s of it; medians (lowest "
        f"to highest) of {plan['repetitions']} repetitions in turn.\n\n" + _table(head, rows)
    )


def _paced(runs: dict[str, list[list[dict[str, Any]]]], plan: dict[str, Any]) -> str:
    rows = []
    for name, repetitions in runs.items():
        if not repetitions:
            continue
        for at, rate in enumerate(one["rate"] for one in repetitions[0]):
            some = [each[at] for each in repetitions]
            kept = all(one["achieved"] >= 0.98 * rate for one in some)
            rows.append(
                (
                    name,
                    f"{rate:,.0f}",
                    *(f"{_middle(some, key):.1f}" for key in ("p50_ms", "p99_ms", "p999_ms")),
                    f"{max(one['worst_ms'] for one in some):.0f}",
                    f"{_middle(some, 'cpu_us'):.0f}",
                    f"{_middle(some, 'late_p99_ms'):.1f}" + ("" if kept else ", pace not kept"),
                    f"{sum(one['missing'] for one in some)}",
                )
            )
    rows.sort(key=lambda row: float(row[1].replace(",", "")))
    head = (
        "",
        "events/s",
        "p50",
        "p99",
        "p99.9",
        "worst",
        "CPU, µs an event",
        "generator late, p99",
        "unanswered",
    )
    return (
        f"## At a steady pace\n\nFrom publishing an event to reading its score, ms; "
        f"{plan['seconds']:g} s at each rate, medians of {plan['repetitions']} repetitions in turn "
        "(the worst of all).\n\n" + _table(head, rows)
    )


def _steps(runs: dict[str, list[dict[str, Any]]]) -> str:
    told = {name: each for name, each in runs.items() if each and each[0]["steps_us"]}
    steps = list(dict.fromkeys(step for each in told.values() for step in each[0]["steps_us"]))
    rows = [
        (
            step,
            *(
                f"{median(one['steps_us'].get(step, 0.0) for one in each):.1f}"
                for each in told.values()
            ),
        )
        for step in steps
    ]
    return (
        "## Where the time goes\n\nBy the clock, µs an event. Publish, add and write are waited "
        "for while the next batch is computed.\n\n" + _table(("", *told), rows)
    )


def _growth(found: dict[str, Any]) -> str:
    rows: list[Row] = []
    for what in ("accounts", "partitions", "workers"):
        for each in found.get(what, []):
            flat = f"{each['events_per_s']:,.0f} events/s, {each['cpu_us']:.1f} µs CPU an event"
            rows.append((f"{each[what]:,} {what}", f"{flat}, {each['peak_mb']:,.0f} MB"))
    for each in found.get("hot_account", []):
        share = f"{each['hot_share']:.0%} of {each['rate']:,.0f} events/s are one account's"
        rows.append(
            (share, f"the others' p50 {each['p50_ms']:.1f} ms, p99 {each['p99_ms']:.1f} ms")
        )
    if "hand_over" in found:
        worst = found["hand_over"]["worst_ms"]
        rows.append(("one of two workers stops", f"an event waits {worst:,.0f} ms at most"))
    for bundle, size in found.get("bytes_per_account", {}).items():
        rows.append((f"an account in the store, {bundle} bundle", f"{size:,} bytes"))
    return "## Growth\n\n" + _table(("riskstream", ""), rows)


def _table(head: Row, rows: Iterable[Row]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _middle(runs: Sequence[dict[str, Any]], key: str) -> float:
    return median(each[key] for each in runs) if runs else 0.0


def _range(runs: Sequence[dict[str, Any]], key: str, form: str) -> str:
    show: Callable[[float], str] = lambda value: format(value, form)  # noqa: E731
    values = [each[key] for each in runs]
    return f"{show(min(values))} to {show(max(values))}"


if __name__ == "__main__":
    write_readme(Path("README.md"), json.loads(Path(sys.argv[1]).read_text("utf-8")))
