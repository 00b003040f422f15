"""``riskstream train``: from a history to a bundle."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from engine.errors import ConfigError
from models.config import TrainConfig
from models.packs.code import load_code
from models.packs.registry import find_pack
from riskstream.histories import Period
from riskstream.options import (
    EXIT_INTERRUPTED,
    ConfigOption,
    FieldOption,
    FromOption,
    JsonOption,
    UntilOption,
    err,
    make_folder,
    out,
    print_json,
)
from riskstream.training_data import Labelled, LabelledEvents
from riskstream.training_options import (
    DeviceOption,
    FamilyOption,
    SetOption,
    check_device,
    require_training,
    training_settings,
)
from riskstream.training_view import TrainingView, line_of

if TYPE_CHECKING:
    from models.checkpoint import Checkpoint
    from models.processes import Processes
    from models.training import TrainedScorer


def train(
    pack: Annotated[str, typer.Argument(help="What kind of model: fraud, or a pack's folder.")],
    data: Annotated[Path, typer.Option(help="A .parquet, .csv or .jsonl file with labels.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="The bundle's folder.")],
    family: FamilyOption = None,
    name: Annotated[str | None, typer.Option(help="The model's name.")] = None,
    version: Annotated[str, typer.Option(help="The model's version.")] = "1",
    epochs: Annotated[int | None, typer.Option(min=1, help="The most epochs.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed of every random choice.")] = None,
    given: SetOption = None,
    device: DeviceOption = "auto",
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="The folder of what each epoch leaves to go on from; --out if none."),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, whatever an interrupted training left.")
    ] = False,
    start: FromOption = None,
    until: UntilOption = None,
    field: FieldOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    r"""Train a model on a history, export it, check it against PyTorch, and write its bundle.

    Needs the extra riskstream\[train]. The last days of the history choose the
    model and its thresholds, so leave out with --until what it is judged on.
    Interrupted, the same command goes on after the last epoch that was done,
    to the same result. torchrun starts it on several GPUs or CPUs.

    [bold]Examples[/bold]

      riskstream train fraud --data raw.parquet --until 2026-06-01 -o bundles/mine

      riskstream train fraud -c config/handbook.toml --data raw.csv -o bundles/new

      riskstream train ./my-pack --data mine.csv --set dropout=0.2 -o bundles/new

      torchrun --nproc-per-node 4 -m riskstream train fraud --data raw.csv -o new
    """
    folder = find_pack(pack)
    require_training()
    load_code(folder)
    check_device(device)
    settings = training_settings(folder, family, given, epochs=epochs, seed=seed)
    wanted = Labelled(folder, settings, data, Period(start, until), field, config)
    began_s = time.monotonic()
    with _joined(device) as processes:
        err.quiet = not processes.first
        events = wanted.read()
        make_folder("--out", output)
        kept = _checkpoint(checkpoint or output, settings, events)
        if restart:
            _begin_anew(kept, processes)
        trained = _fit(events, settings, kept, processes)
        if not processes.first:
            return
    seconds = round(time.monotonic() - began_s, 1)
    named = name or f"{settings.scorer.pack}-{settings.scorer.cell.name}"
    difference = _export(trained, output, named, version, {"data": data.name, "seconds": seconds})
    _done_with(kept)
    figures = {name: round(value, 6) for name, value in trained.metrics.items()}
    if json:
        print_json({"bundle": str(output), "validation": figures, "seconds": seconds})
        return
    out.print(f"{output}: trained in {seconds:,.0f} s, validation {line_of(figures)}")
    out.print(f"the graph and PyTorch differ by at most {difference:.1e}")


def _joined(device: str) -> AbstractContextManager[Processes]:
    from models.processes import joined

    return joined(device)


def _checkpoint(folder: Path, settings: TrainConfig, events: LabelledEvents) -> Checkpoint:
    """Return the checkpoint of this training, and make its folder."""
    from models.checkpoint import checkpoint_of

    make_folder("--checkpoint", folder)
    return checkpoint_of(folder, settings, events.columns, events.labels, events.schema)


def _begin_anew(kept: Checkpoint, processes: Processes) -> None:
    """Remove what was kept, before any of the processes reads it."""
    if processes.first:
        kept.remove()
    processes.wait()


def _fit(
    events: LabelledEvents, settings: TrainConfig, kept: Checkpoint, processes: Processes
) -> TrainedScorer:
    from models.answers.registry import learns_labels
    from models.forecast import train_forecast
    from models.training import train

    columns, schema = events.columns, events.schema
    with TrainingView(err, settings.epochs, kept.path) as view:
        try:
            if learns_labels(settings.scorer.output.name):
                return train(columns, events.labels, schema, settings, view, kept, processes)
            return train_forecast(columns, schema, settings, view, kept, processes)
        except KeyboardInterrupt:
            err.print(f"interrupted; the same command goes on from {kept.path}, if it is there")
            raise typer.Exit(EXIT_INTERRUPTED) from None


def _export(
    trained: TrainedScorer, output: Path, name: str, version: str, facts: Mapping[str, Any]
) -> float:
    """Write the bundle, and return by how much the graph's scores differ from PyTorch's.

    Raises:
        ConfigError: the folder cannot be written any more; says where the bundle is instead.
    """
    from export.bundle import export_bundle

    try:
        make_folder("--out", output)
    except ConfigError as error:
        instead = Path(mkdtemp(prefix="riskstream-bundle-"))
        export_bundle(trained, instead, name=name, version=version, training=facts)
        raise ConfigError(f"{error}; the bundle was written to {instead}: move it") from None
    return export_bundle(trained, output, name=name, version=version, training=facts).score


def _done_with(kept: Checkpoint) -> None:
    """Remove what a training that is done needs no more."""
    try:
        kept.remove()
    except OSError as error:
        err.print(f"{kept.path} cannot be removed, and is needed no more: {escape(str(error))}")
