"""What a demo came to: frauds caught at the alert rate it had, files, and what to try next."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from engine.decode import Decoder, Limits
from engine.history import History
from riskstream.demo_run import DemoPlan, DemoResult
from riskstream.options import err, out, print_json

_DAY_MS = 86_400_000


def report(
    result: DemoResult, history: History, plan: DemoPlan, directory: Path, json: bool
) -> None:
    """Print the result of a demo."""
    figures = _figures(result, history, plan)
    if json:
        print_json({**figures, "directory": str(directory)})
        return
    if result.missing:
        err.print(
            f"[bold red]error:[/] every event must be scored, however: {result.missing:,} are not; "
            f"see {directory / 'worker.log'}"
        )
    _print(figures, directory, plan)


def _figures(result: DemoResult, history: History, plan: DemoPlan) -> dict[str, Any]:
    state = result.state
    calm = plan.decisions[0]
    alerted = {event_id for event_id, each in result.decisions.items() if each != calm}
    live = len(result.decisions)
    found: dict[str, Any] = {
        "events": state.total,
        "scored": state.scored,
        "missing": result.missing,
        "seconds": round(result.seconds, 1),
        "latency_p50_ms": state.latency_ms(50),
        "latency_p99_ms": state.latency_ms(99),
        "live_events": live,
        "alerts": len(alerted),
        "alert_rate": len(alerted) / max(live, 1),
        "decisions": {name: state.decisions[name] for name in plan.decisions},
    }
    if history.labels is None:
        return found
    positives = _positives(history, plan)
    caught = len(alerted & positives)
    return {
        **found,
        plan.positive: len(positives),
        "caught": caught,
        "recall": caught / max(len(positives), 1),
        "precision": caught / max(len(alerted), 1),
    }


def _positives(history: History, plan: DemoPlan) -> set[str]:
    """Return the ids of the events of the paced part whose label is positive."""
    start = int(np.searchsorted(history.event_time_ms, plan.live_from_ms))
    live = history.slice(start, len(history))
    columns = live.decode(Decoder(history.schema, Limits()), 2**53).columns
    if live.labels is None:
        return set()
    return {
        event_id
        for event_id, row in zip(columns.event_ids, columns.rows.tolist(), strict=True)
        if live.labels[row] > 0
    }


def _print(figures: dict[str, Any], directory: Path, plan: DemoPlan) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    rows = [
        (
            "scored",
            f"{figures['scored']:,} of {figures['events']:,} events in {figures['seconds']:.0f} s",
        ),
        ("latency", f"p50 {_ms(figures['latency_p50_ms'])}, p99 {_ms(figures['latency_p99_ms'])}"),
        (
            "alerts",
            f"{figures['alerts']:,} of {figures['live_events']:,} live {plan.what} "
            f"({figures['alert_rate']:.2%}){_precision(figures, plan)}",
        ),
        *_found(figures, plan),
        ("files", f"{directory}/alerts.jsonl, worker.toml, worker.log"),
    ]
    for name, value in rows:
        table.add_row(f"{name}  ", value)
    out.print(table)
    out.print("\n[bold]try next[/bold]")
    program = _program()
    for command in (
        f"{program} bundle show{_bundle(plan)}",
        f"{program} score {_shown(plan.transactions)}{_options(plan)} --out scores.parquet",
        f"{program} settings > riskstream.toml   # a configuration to start from",
    ):
        out.print(f"  {command}", markup=False)


def _precision(figures: dict[str, Any], plan: DemoPlan) -> str:
    if "precision" not in figures:
        return ""
    return f", {figures['precision']:.0%} of them {plan.positive}"


def _found(figures: dict[str, Any], plan: DemoPlan) -> list[tuple[str, str]]:
    """Return what the alerts found: positives, or what they were of where there are no labels."""
    if "caught" not in figures:
        counts = [f"{figures['decisions'][each]:,} {each}" for each in plan.decisions[1:]]
        return [("of these", ", ".join(counts))]
    shown = f"{figures['caught']:,} of {figures[plan.positive]:,} ({figures['recall']:.0%})"
    return [(f"{plan.positive} caught", shown)]


def _options(plan: DemoPlan) -> str:
    delay = (
        "" if plan.label_delay_ms is None else f" --labels-delay {plan.label_delay_ms // _DAY_MS}d"
    )
    return f"{delay}{'' if plan.bundle is None else f' --bundle {_shown(plan.bundle)}'}"


def _bundle(plan: DemoPlan) -> str:
    return "" if plan.bundle is None else f" {_shown(plan.bundle)}"


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _program() -> str:
    """Return how the reader can call riskstream: by its name if that is on the path."""
    return "riskstream" if shutil.which("riskstream") else str(_shown(Path(sys.argv[0])))


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f} ms"
