"""``riskstream label``: say what events turned out to be."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from engine.errors import ConfigError
from engine.label_decode import Label, LabelDecoder, LabelKind, label_record
from riskstream.options import (
    BundleOption,
    ConfigOption,
    JsonOption,
    load_bundle,
    out,
    parse_time,
    print_json,
    run_async,
    settings_of,
    tell_unused_labels,
)
from streams.log import set_up_logging
from streams.replay import publish_labels
from streams.settings import Settings


def label(
    events: Annotated[list[str], typer.Argument(help="The ids of one or more events.")],
    fraud: Annotated[
        bool | None, typer.Option("--fraud/--genuine", help="What they turned out to be.")
    ] = None,
    kind: Annotated[LabelKind, typer.Option(help="Who found out.")] = LabelKind.ANALYST,
    source: Annotated[str, typer.Option(help="Who says so: a person, a desk, a system.")] = "",
    known_at: Annotated[
        str | None, typer.Option(help="When it became known (ISO 8601, UTC); now if not given.")
    ] = None,
    config: ConfigOption = None,
    bundle: BundleOption = None,
    json: JsonOption = False,
) -> None:
    """Publish labels, so that later scores know of them.

    A later label for the same event replaces the earlier one. A label that cannot
    be used, such as one for an unknown event, becomes a dead letter with its
    reason.

    [bold]Examples[/bold]

      riskstream label 1793241 --fraud --kind chargeback --source visa

      riskstream label 1793241 1793260 --genuine --source "desk 4"
    """
    if fraud is None:
        raise ConfigError("a label must say --fraud or --genuine, however: neither is given")
    settings = settings_of(config, bundle)
    set_up_logging("WARNING")
    loaded = load_bundle(settings)
    now_ms = time.time_ns() // 1_000_000
    known_ms = parse_time("--known-at", known_at)
    known = datetime.fromtimestamp((now_ms if known_ms is None else known_ms) / 1000, UTC)
    labels = [Label(each, fraud, known, source, kind) for each in events]
    _check(labels, settings, now_ms)
    tell_unused_labels(loaded)
    run_async(publish_labels(settings, labels))
    if json:
        print_json({"published": len(labels), "known_at": known.isoformat()})
        return
    what, plural = "fraud" if fraud else "genuine", "" if len(labels) == 1 else "s"
    out.print(f"{len(labels):,} label{plural} ({what}) published to {settings.topics.labels}")


def _check(labels: Sequence[Label], settings: Settings, now_ms: int) -> None:
    """Raise :class:`ConfigError` where the worker would refuse a label, whatever its event."""
    events = settings.events
    decoder = LabelDecoder(events.max_bytes, round(events.max_future_s * 1000))
    values = [label_record(each).value for each in labels]
    for reject in decoder.decode(values, [now_ms] * len(values), now_ms).rejects:
        raise ConfigError(reject.detail)
