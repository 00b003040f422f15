"""``riskstream alerts``: the alert feed in the terminal as it grows."""

from __future__ import annotations

import re
import time
from collections import deque
from typing import Annotated, Any

import typer
from rich.live import Live

from engine.errors import ConfigError
from riskstream.alert_table import alert_line, alert_table
from riskstream.options import (
    ConfigOption,
    JsonOption,
    out,
    parse_time,
    print_json,
    run_async,
    settings_of,
)
from streams.feed import Feed, open_feed
from streams.kafka import ensure_topics
from streams.log import set_up_logging
from streams.settings import Settings

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_KEPT = 200


def alerts(
    since: Annotated[
        str | None,
        typer.Option(help="Start with what was published since then: 90s, 15m, 2h, 7d or a time."),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End when all that there is has been shown.")
    ] = False,
    decision: Annotated[
        str | None, typer.Option(help="Only alerts with this decision: review or decline.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Follow the alert feed: newest first in a terminal, a line an alert in a pipe.

    [bold]Examples[/bold]

      riskstream alerts --since 1h

      riskstream alerts --since 7d --once --json | jq -r .account | sort | uniq -c
    """
    if decision not in (None, "review", "decline"):
        raise ConfigError(f"--decision must be review or decline, however: {decision!r}")
    settings = settings_of(config)
    set_up_logging("WARNING")
    since_ms = parse_since(since, time.time_ns() // 1_000_000)
    if since_ms is None and once:
        since_ms = 0
    run_async(_follow(settings, since_ms, once, decision, json))


def parse_since(text: str | None, now_ms: int) -> int | None:
    """Read ``--since`` as ms since 1970. Raises :class:`engine.errors.ConfigError`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text or "")
    if found is None:
        return _parse_since_time(text)
    return now_ms - round(float(found[1]) * _UNITS_S[found[2]] * 1000)


def _parse_since_time(text: str | None) -> int | None:
    try:
        return parse_time("--since", text)
    except ConfigError:
        raise ConfigError(
            "--since must be an age such as 90s, 15m, 2h or 7d, or an ISO 8601 time such as "
            f"2026-01-31T12:00:00Z, however: {text!r}"
        ) from None


async def _follow(
    settings: Settings, since_ms: int | None, once: bool, decision: str | None, json: bool
) -> None:
    await ensure_topics(settings)
    async with open_feed(settings, [settings.topics.alerts], since_ms) as feed:
        if out.is_terminal and not json:
            await _show_live(feed, once, decision)
        else:
            await _print(feed, once, decision, json)


async def _show_live(feed: Feed, once: bool, decision: str | None) -> None:
    newest: deque[dict[str, Any]] = deque(maxlen=_KEPT)
    seen = 0
    with Live(console=out, auto_refresh=False, screen=not once) as live:
        while True:
            found = await _poll(feed, decision)
            seen += len(found)
            newest.extendleft(found)
            shown = list(newest)[: max(out.height - 4, 1)]
            live.update(alert_table(shown, f"{seen:,} alerts, newest first"), refresh=True)
            if once and not found and await feed.at_end():
                return


async def _print(feed: Feed, once: bool, decision: str | None, json: bool) -> None:
    while True:
        found = await _poll(feed, decision)
        for alert in found:
            if json:
                print_json(alert)
            else:
                out.print(alert_line(alert), markup=False)
        if once and not found and await feed.at_end():
            return


async def _poll(feed: Feed, decision: str | None) -> list[dict[str, Any]]:
    entries = await feed.poll()
    return [
        entry.body for entry in entries if decision is None or entry.body["decision"] == decision
    ]
