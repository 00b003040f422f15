"""``riskstream alerts``: the alert feed in the terminal as it grows."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer
from rich.live import Live

from engine.errors import ConfigError
from riskstream.alert_feed import AlertFeed
from riskstream.alert_table import alert_line, alert_table
from riskstream.options import (
    ConfigOption,
    JsonOption,
    err,
    load_bundle,
    out,
    parse_time,
    print_json,
    run_async,
    settings_of,
)
from streams.feed import Entry, open_feed
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
        str | None, typer.Option(help="Only alerts with this decision: review, decline, …")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Follow the alert feed: newest first in a terminal, a line an alert in a pipe.

    [bold]Examples[/bold]

      riskstream alerts --since 1h

      riskstream alerts --since 7d --once --json | jq -r .account | sort | uniq -c
    """
    settings = settings_of(config)
    if decision is not None:
        _check_decision(decision, settings)
    set_up_logging("WARNING")
    since_ms = parse_since(since, time.time_ns() // 1_000_000)
    if since_ms is None and once:
        since_ms = 0
    run_async(_follow(settings, since_ms, once, decision, json))


def _check_decision(decision: str, settings: Settings) -> None:
    """Raise :class:`engine.errors.ConfigError` where the bundle has no such decision."""
    known = load_bundle(settings).manifest.decisions[1:]
    if decision not in known:
        raise ConfigError(f"--decision must be {' or '.join(known)}, however: {decision!r}")


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
            await _show_live(AlertFeed(feed, decision, once))
        else:
            await _print(AlertFeed(feed, decision, once, _tell), json)


async def _show_live(feed: AlertFeed) -> None:
    newest: list[Entry] = []
    seen = 0
    with Live(console=out, auto_refresh=False, screen=not feed.once) as live:
        async for found in feed.batches():
            seen += len(found)
            newest = sorted([*reversed(found), *newest], key=_published_ms, reverse=True)[:_KEPT]
            shown = [entry.body for entry in newest[: max(out.height - 4, 1)]]
            away = "; Kafka is away" if feed.away else ""
            live.update(alert_table(shown, f"{seen:,} alerts, newest first{away}"), refresh=True)


def _published_ms(entry: Entry) -> int:
    return entry.published_ms


def _tell(line: str) -> None:
    err.print(line, markup=False)


async def _print(feed: AlertFeed, json: bool) -> None:
    async for found in feed.batches():
        for entry in found:
            if json:
                print_json(entry.body)
            else:
                out.print(alert_line(entry.body), markup=False)
