"""Alerts as people read them in a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from rich.table import Table
from rich.text import Text

from engine.decisions import DECISION_NAMES
from engine.values import MAX_TIME_MS
from riskstream.options import format_time

#: Of decisions, in the order of rising risk.
STYLES = ("green", "yellow", "bold red")
_STYLE_OF = dict(zip(DECISION_NAMES, STYLES, strict=True))
_REASONS = 2


class _Reason(msgspec.Struct):
    text: str


class _Shown(msgspec.Struct):
    """What is shown of an alert."""

    event_time_ms: Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME_MS)]
    decision: str
    account: str
    score: float
    reasons: list[_Reason]
    amount: float | None = None


def fault_of(body: dict[str, Any]) -> str | None:
    """Return what a JSON object lacks to be shown as an alert; None where it lacks nothing.

    >>> fault_of({"event_time_ms": "yesterday"})
    'Expected `int`, got `str` - at `$.event_time_ms`'
    """
    try:
        msgspec.convert(body, _Shown)
    except msgspec.ValidationError as error:
        return str(error)
    return None


def alert_table(alerts: Iterable[dict[str, Any]], title: str | None = None) -> Table:
    """Return a table of alerts, in the order given."""
    table = Table(title=title, title_justify="left", expand=True, box=None, pad_edge=False)
    table.add_column("time (UTC)", no_wrap=True, width=19)
    table.add_column("decision", no_wrap=True, width=8)
    table.add_column("account", no_wrap=True, max_width=20)
    table.add_column("amount", justify="right", no_wrap=True, width=11)
    table.add_column("score", justify="right", no_wrap=True, width=6)
    table.add_column("reasons", ratio=1, no_wrap=True, overflow="ellipsis")
    for alert in alerts:
        table.add_row(
            format_time(alert["event_time_ms"]),
            Text(alert["decision"], style=_STYLE_OF.get(alert["decision"], "bold red")),
            alert["account"],
            amount_of(alert),
            f"{alert['score']:.3f}",
            reasons_of(alert),
        )
    return table


def alert_line(alert: dict[str, Any]) -> str:
    """Return an alert as one plain line."""
    return (
        f"{format_time(alert['event_time_ms'])}  {alert['decision']:<8}  {alert['account']:<12}  "
        f"{amount_of(alert):>11}  {alert['score']:.3f}  {reasons_of(alert)}"
    )


def amount_of(alert: dict[str, Any]) -> str:
    """Return the amount with two decimals; a dash where events have none."""
    amount = alert.get("amount")
    return "–" if amount is None else f"{amount:,.2f}"


def reasons_of(alert: dict[str, Any]) -> str:
    """Return the strongest reasons as text."""
    return "; ".join(reason["text"].rstrip(".") for reason in alert["reasons"][:_REASONS])
