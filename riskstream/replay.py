"""``riskstream replay``: a file of events into the topic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.errors import ConfigError
from engine.history import History
from riskstream.options import (
    BundleOption,
    ConfigOption,
    FieldOption,
    FromOption,
    JsonOption,
    UntilOption,
    err,
    format_time,
    load_bundle,
    map_fields,
    parse_time,
    print_json,
    run_async,
    settings_of,
)
from streams.log import set_up_logging
from streams.replay import Progress as Replayed
from streams.replay import replay as publish


def replay(
    file: Annotated[Path, typer.Argument(help="A .parquet, .csv or .jsonl file.")],
    speed: Annotated[
        str, typer.Option(help="life, a factor such as 60 (times life speed), or max.")
    ] = "max",
    start: FromOption = None,
    until: UntilOption = None,
    field: FieldOption = None,
    config: ConfigOption = None,
    bundle: BundleOption = None,
    json: JsonOption = False,
) -> None:
    """Stream a history into the transactions topic, in the order of event time.

    An interrupted replay prints the time to go on from with --from. Events that
    were published twice are scored once: the repeats are marked as duplicates.

    [bold]Examples[/bold]

      riskstream replay transactions.parquet

      riskstream replay raw.csv --speed 60 --from 2026-01-01 --until 2026-02-01

      riskstream replay raw.parquet -f amount=TX_AMOUNT -f account=CUSTOMER_ID
    """
    factor = _factor(speed)
    settings = settings_of(config, bundle)
    set_up_logging("WARNING")
    schema = map_fields(load_bundle(settings).manifest.schema, settings, field)
    start_ms, until_ms = parse_time("--from", start), parse_time("--until", until)
    history = History.open(file, schema, start_ms, until_ms)
    last = Replayed(0, len(history), start_ms or 0)

    def on_progress(progress: Replayed) -> None:
        nonlocal last
        last = progress
        bar.update(task, completed=progress.published, at=format_time(progress.event_time_ms))

    with _bar() as bar:
        task = bar.add_task("replay", total=len(history), at="")
        try:
            run_async(publish(settings, history, factor, on_progress))
        except typer.Exit:
            if last.published:
                err.print(f"stopped; go on with --from {format_time(last.event_time_ms)!r}")
            else:
                err.print("stopped before the first event")
            raise
    if json:
        print_json({"published": last.published, "last_event_time_ms": last.event_time_ms})


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
