"""What a person sees of a running demo: a live view in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from riskstream.alert_table import STYLES, alert_line, alert_table
from riskstream.demo_run import DemoState
from riskstream.options import format_time, out

#: Tells a view that something changed.
View = Callable[[DemoState], None]

_LIVE_EVERY_S = 0.2
_LINE_EVERY_S = 2.0


@contextmanager
def open_view(quiet: bool) -> Iterator[View]:
    """Open the view that fits: none, a live one in a terminal, or plain lines."""
    if quiet:
        yield lambda state: None
    elif out.is_terminal:
        with Live(console=out, auto_refresh=False, transient=True) as live:
            yield _throttled(_LIVE_EVERY_S, lambda state: _refresh(live, state))
    else:
        yield _throttled(_LINE_EVERY_S, _Lines().print)


def render(state: DemoState, height: int) -> Group:
    """Return the live view for a terminal of ``height`` lines."""
    numbers = Table.grid(padding=(0, 3))
    numbers.add_row(*_numbers(state))
    # A progress bar ends without a new line, so it has a row of its own.
    bar = Table.grid(expand=True)
    bar.add_row(ProgressBar(total=max(state.total, 1), completed=state.scored))
    heading = Text(_phase(state), style="bold")
    shown = list(state.newest)[: max(height - 12, 3)]
    newest = alert_table(shown)
    return Group(
        Panel(Group(heading, bar, numbers, _decisions(state)), title="riskstream demo"),
        Panel(newest, title="newest alerts"),
    )


def _refresh(live: Live, state: DemoState) -> None:
    live.update(render(state, out.height), refresh=True)


def _phase(state: DemoState) -> str:
    at = format_time(state.event_time_ms) if state.event_time_ms else "…"
    if state.live:
        return f"{state.what} as they come, event time {at}"
    return f"building up the accounts' history, event time {at}"


def _numbers(state: DemoState) -> list[str]:
    p50, p99 = _ms(state.latency_ms(50)), _ms(state.latency_ms(99))
    return [
        f"[bold]{state.scored:,}[/] of {state.total:,} scored",
        f"[bold]{state.events_per_s:,.0f}[/] events/s",
        f"latency p50 [bold]{p50}[/]  p99 [bold]{p99}[/]",
        f"[bold]{state.alerts:,}[/] alerts",
    ]


def _decisions(state: DemoState) -> Text:
    text = Text()
    for decision, style in zip(state.names, STYLES, strict=True):
        text.append(f"{decision} ", style=style)
        text.append(f"{state.decisions[decision]:,}   ")
    return text


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f} ms"


class _Lines:
    """Plain lines: the numbers, and the alerts of the paced part since the last line."""

    def __init__(self) -> None:
        self._shown = 0

    def print(self, state: DemoState) -> None:
        """Print where the demo is."""
        names = state.names
        decisions = "  ".join(f"{name} {state.decisions[name]:,}" for name in names)
        out.print(
            f"{state.elapsed_s:6.1f} s  {state.scored:>8,} of {state.total:,} scored  "
            f"{state.events_per_s:>7,.0f} events/s  p50 {_ms(state.latency_ms(50))}  "
            f"p99 {_ms(state.latency_ms(99))}  {decisions}",
            markup=False,
        )
        if state.live and state.alerts > self._shown:
            self._shown = state.alerts
            out.print(f"          newest alert: {alert_line(state.newest[0])}", markup=False)


def _throttled(every_s: float, view: View) -> View:
    last_s = 0.0

    def throttled(state: DemoState) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if now_s - last_s >= every_s:
            last_s = now_s
            view(state)

    return throttled
