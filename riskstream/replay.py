"""``riskstream replay``: a file of events into the topic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.errors import ConfigError
from riskstream.histories import Period, labels_of, open_history
from riskstream.options import (
    BundleOption,
    ConfigOption,
    FieldOption,
    FromOption,
    JsonOption,
    LabelsDelayOption,
    UntilOption,
    err,
    format_time,
    load_bundle,
    parse_duration,
    parse_time,
    print_json,
    run_async,
    settings_of,
    tell_unused_labels,
)
from streams.log import set_up_logging
from streams.replay import Labels
from streams.replay import Progress as Replayed
from streams.replay import replay as publish


def replay(
    file: Annotated[Path, typer.Argument(help="A .parquet, .csv or .jsonl file.")],
    speed: Annotated[
        str, typer.Option(help="life, a factor such as 60 (times life speed), or max.")
    ] = "max",
    labels_delay: LabelsDelayOption = None,
    start: FromOption = None,
    until: UntilOption = None,
    field: FieldOption = None,
    config: ConfigOption = None,
    bundle: BundleOption = None,
    json: JsonOption = False,
) -> None:
    """Stream a history into the transactions topic, in the order of event time.

    With --labels-delay the file's labels follow on their topic, each when it
    would have been known; with --from, those of the events before too.

    An interrupted replay prints the time to go on from with --from. Events that
    were published twice are scored once: the repeats are marked as duplicates.

    [bold]Examples[/bold]

      riskstream replay transactions.parquet

      riskstream replay raw.csv --speed 60 --from 2026-01-01 --until 2026-02-01

      riskstream replay transactions.parquet --labels-delay 7d

      riskstream replay raw.parquet -f amount=TX_AMOUNT -f account=CUSTOMER_ID
    """
    factor = _factor(speed)
    settings = settings_of(config, bundle, field)
    set_up_logging("WARNING")
    loaded = load_bundle(settings)
    history = open_history(file, loaded.manifest.schema, settings, Period(start, until))
    delay_ms = parse_duration("--labels-delay", labels_delay)
    labels = Labels(delay_ms)
    if delay_ms is not None:
        labels_of(history, file, "a history for --labels-delay")
        tell_unused_labels(loaded)
        if start is not None:
            labels.add_earlier(
                open_history(file, loaded.manifest.schema, settings, Period(until=start))
            )
    last = Replayed(0, len(history), parse_time("--from", start) or 0)
    with _bar() as bar:
        shown = _Shown(bar, last)
        try:
            run_async(publish(settings, history, factor, shown, labels))
        except typer.Exit:
            err.print(_way_on(shown.last))
            raise
    if json:
        print_json(
            {
                "published": shown.last.published,
                "labels": shown.last.labels,
                "last_event_time_ms": shown.last.event_time_ms,
            }
        )


class _Shown:
    """Shows how far a replay is, and remembers it."""

    def __init__(self, bar: Progress, last: Replayed) -> None:
        self.last, self._bar = last, bar
        self._task = bar.add_task("replay", total=last.total, at="")

    def __call__(self, progress: Replayed) -> None:
        self.last = progress
        at = format_time(progress.event_time_ms)
        self._bar.update(self._task, completed=progress.published, at=at)


def _way_on(last: Replayed) -> str:
    if last.published:
        return f"stopped; go on with --from {format_time(last.event_time_ms)!r}"
    return "stopped before the first event"


def _factor(speed: str) -> float | None:
    if speed == "max":
        return None
    if speed == "life":
        return 1.0
    try:
        factor = float(speed)
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise ConfigError(
            f"--speed must be life, max, or a factor greater than 0, however: {speed!r}"
        )
    return factor


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[at]}"),
        TimeRemainingColumn(),
        console=err,
        disable=not err.is_terminal,
    )
