"""``riskstream state backfill``: start with what a history amounts to."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import HistoryError
from riskstream.histories import Period, Scoring, labels_of, open_history
from riskstream.options import (
    BundleOption,
    ConfigOption,
    FieldOption,
    FromOption,
    JsonOption,
    LabelsDelayOption,
    UntilOption,
    format_time,
    load_bundle,
    new_bar,
    out,
    parse_duration,
    print_json,
    run_async,
    settings_of,
)
from riskstream.repair import repair
from streams.log import set_up_logging

if TYPE_CHECKING:
    from streams.backfill import Content, GoOn, Loaded

app = typer.Typer(help="Look after what the engine knows.", no_args_is_help=True)
app.command()(repair)


@app.command()
def backfill(
    file: Annotated[Path, typer.Argument(help="A .parquet, .csv or .jsonl file.")],
    labels_delay: LabelsDelayOption = None,
    go_on: Annotated[
        str,
        typer.Option(
            "--go-on",
            help="Where the stream goes on: time (after the history's end), beginning or end.",
        ),
    ] = "time",
    start: FromOption = None,
    until: UntilOption = None,
    field: FieldOption = None,
    config: ConfigOption = None,
    bundle: BundleOption = None,
    json: JsonOption = False,
) -> None:
    """Load what a history amounts to, so that the first event is scored with it.

    The states of all accounts and the buckets of all shared entities are
    computed without Kafka, loaded beside those in use, and switched to at the
    end. Stop the workers before. An interrupted backfill goes on where it was.

    [bold]Examples[/bold]

      riskstream state backfill transactions.parquet --labels-delay 7d

      riskstream state backfill raw.csv -f amount=TX_AMOUNT --until 2026-02-01
    """
    from riskstream.contents import compute_content
    from streams.backfill import GoOn, Source, load

    settings = settings_of(config, bundle, field)
    set_up_logging("WARNING")
    where = _go_on(go_on, GoOn)
    loaded = load_bundle(settings)
    history = open_history(file, loaded.manifest.schema, settings, Period(start, until))
    if not len(history):
        raise HistoryError(f"a history must have events, however: {file.name} has none here")
    how = Scoring(parse_duration("--labels-delay", labels_delay))
    if how.label_delay_ms is not None:
        labels_of(history, file, "a history for --labels-delay")
    content, events = compute_content(history, loaded, settings, how)
    until_ms = int(history.event_time_ms[-1])
    facts = [loaded.digest, how.label_delay_ms, start, until, sorted(settings.fields.items())]
    source = Source(_digest(file, facts), until_ms, where)
    with new_bar("loading", len(content)) as bar:
        done = run_async(load(settings, loaded.manifest, content, source, bar))
    _report(json, events, content, done, until_ms)


def _go_on(text: str, choices: type[GoOn]) -> GoOn:
    from engine.errors import ConfigError

    try:
        return choices(text)
    except ValueError:
        known = ", ".join(choices)
        raise ConfigError(f"--go-on must be one of {known}, however: {text!r}") from None


def _digest(file: Path, facts: list[Any]) -> str:
    digest = sha256(repr(facts).encode())
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _report(json: bool, events: int, content: Content, done: Loaded, until_ms: int) -> None:
    counts = {kind: len(rings) for kind, rings in content.rings.items()}
    if json:
        print_json(
            {
                "events": events,
                "accounts": len(content.states),
                "entities": counts,
                "kept_events": len(content.entries),
                "until_ms": until_ms,
                "generation": done.generation,
                "positions": _named(done.positions),
                "dropped_keys": done.dropped,
            }
        )
        return
    out.print(f"{events:,} events until {format_time(until_ms)} are known now")
    out.print(f"  {'accounts':<16}{len(content.states):>12,}")
    for kind, count in counts.items():
        out.print(f"  {kind:<16}{count:>12,}")
    out.print(f"  {'kept for labels':<16}{len(content.entries):>12,}")
    for topic, positions in done.positions.items():
        shown = ", ".join(f"{partition}: {at:,}" for partition, at in sorted(positions.items()))
        out.print(f"  {topic} goes on at {shown}")


def _named(positions: Mapping[str, Mapping[int, int]]) -> dict[str, dict[str, int]]:
    return {
        topic: {str(partition): at for partition, at in found.items()}
        for topic, found in positions.items()
    }
