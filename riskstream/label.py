"""``riskstream label``: say what events turned out to be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from engine.labels import Label, LabelKind
from riskstream.options import (
    BundleOption,
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
from streams.log import set_up_logging
from streams.replay import publish_labels


def label(
    events: Annotated[list[str], typer.Argument(help="The ids of one or more events.")],
    fraud: Annotated[bool, typer.Option("--fraud/--genuine", help="What they turned out to be.")],
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

    A later label for the same event replaces the earlier one. A label that cannot be
    used, such as one for an unknown event, becomes a dead letter with its reason.

    [bold]Examples[/bold]

      riskstream label 1793241 --fraud --kind chargeback --source visa

      riskstream label 1793241 1793260 --genuine --source "desk 4"
    """
    settings = settings_of(config, bundle)
    set_up_logging("WARNING")
    known_ms = parse_time("--known-at", known_at)
    known = datetime.now(UTC) if known_ms is None else datetime.fromtimestamp(known_ms / 1000, UTC)
    labels = [Label(each, fraud, known, source, kind) for each in events]
    if not any(each.takes_labels for each in load_bundle(settings).manifest.shared):
        err.print("the configured model uses no labels: they are published, and change no score")
    run_async(publish_labels(settings, labels))
    if json:
        print_json({"published": len(labels), "known_at": known.isoformat()})
        return
    what = "fraud" if fraud else "genuine"
    out.print(f"{len(labels):,} events labelled as {what} on {settings.topics.labels}")
