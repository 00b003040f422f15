"""``riskstream state backfill``: start with what a history amounts to."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from engine.bundle import Bundle
from engine.errors import HistoryError
from engine.history import History
from riskstream.histories import Period, Scoring, labels_of, open_history, score_with
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
from streams.log import set_up_logging
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.backfill import Content, GoOn, Loaded

_DAY_MS = 86_400_000

app = typer.Typer(help="Look after what the engine knows.", no_args_is_help=True)


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

    The states of all accounts and the buckets of all shared entities are computed
    without Kafka, loaded beside those in use, and switched to at the end. Stop the
    workers before. A backfill that was interrupted goes on where it was.

    [bold]Examples[/bold]

      riskstream state backfill transactions.parquet --labels-delay 7d

      riskstream state backfill raw.csv -f amount=TX_AMOUNT --until 2026-02-01
    """
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
    content, events = _compute(history, loaded, settings, how)
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


def _compute(
    history: History, bundle: Bundle, settings: Settings, how: Scoring
) -> tuple[Content, int]:
    """Return what a history amounts to, and the number of events that were scored."""
    from streams.backfill import Content
    from streams.pipeline import new_label_reader
    from streams.worker import new_decoder, new_scorer

    decoder, scorer = new_decoder(settings, bundle.manifest), new_scorer(settings, bundle)
    offline = how.offline(decoder, scorer)
    reader = new_label_reader(settings, decoder, scorer)
    end_ms = int(history.event_time_ms[-1])
    since_ms = end_ms - round(settings.labels.keep_days * _DAY_MS)
    entries: dict[int, bytes] = {}
    events = 0
    for chunk, batch in score_with(offline, history, "computing"):
        columns = batch.columns
        events += len(columns)
        kept = ~batch.scored.duplicate & (columns.event_time_ms >= since_ms)
        if not reader.is_needed or not kept.any():
            continue
        known_ms = columns.event_time_ms + (how.label_delay_ms or 0)
        positive = np.full(len(columns), np.nan, dtype=np.float32)
        if chunk.labels is not None and how.label_delay_ms is not None:
            positive = np.where(known_ms <= end_ms, chunk.labels[columns.rows], np.float32(np.nan))
        found = reader.entries_of(columns.take(kept), positive[kept], known_ms[kept])
        hashes = columns.values[decoder.schema.event_id.name][kept].tolist()
        entries |= dict(zip(hashes, found, strict=True))
    rings = {table.shared.name: dict(table.rings()) for table in offline.knowledge.tables}
    return Content(dict(offline.states()), rings, entries), events


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
