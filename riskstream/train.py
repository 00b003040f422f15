"""``riskstream train``: from a history to a bundle."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import numpy as np
import typer
from numpy.typing import NDArray

from engine.columns import Columns
from engine.errors import ConfigError
from engine.history import History
from engine.schema import Schema
from models.config import TrainConfig, load_train_config
from models.packs.code import load_code
from models.packs.fit import check_pack
from models.packs.registry import find_pack, load_schema
from models.periods import split
from riskstream.histories import Period, decode_history, labels_of, open_history
from riskstream.options import (
    ConfigOption,
    FieldOption,
    FromOption,
    JsonOption,
    UntilOption,
    err,
    make_folder,
    out,
    print_json,
    settings_of,
)

if TYPE_CHECKING:
    from models.training import TrainedScorer

Floats: TypeAlias = NDArray[np.float32]

_EXTRA = ("onnxscript", "sklearn", "torch")


def train(
    pack: Annotated[str, typer.Argument(help="What kind of model: fraud, or a pack's folder.")],
    data: Annotated[Path, typer.Option(help="A .parquet, .csv or .jsonl file with labels.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="The bundle's folder.")],
    family: Annotated[
        str | None,
        typer.Option(
            help="The sequence cell, instead of the pack's: gru, cnn, attention, or mlp (none)."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name.")] = None,
    version: Annotated[str, typer.Option(help="The model's version.")] = "1",
    epochs: Annotated[int | None, typer.Option(min=1, help="The most epochs.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed of every random choice.")] = None,
    start: FromOption = None,
    until: UntilOption = None,
    field: FieldOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    r"""Train a model on a history, export it, check it against PyTorch, and write its bundle.

    Needs the extra riskstream\[train]. The last days of the history choose the
    model and its thresholds, so leave out with --until what it is judged on.

    [bold]Examples[/bold]

      riskstream train fraud --data raw.parquet --until 2026-06-01 -o bundles/mine

      riskstream train fraud -c config/handbook.toml --data raw.csv -o bundles/new

      riskstream train ./my-pack --data wallets.csv -o bundles/wallets
    """
    folder = find_pack(pack)
    require_training()
    load_code(folder)
    settings = _training_settings(folder, epochs, seed, family)
    schema = load_schema(folder)
    check_pack(schema, settings.scorer)
    history = open_history(data, schema, settings_of(config, None, field), Period(start, until))
    events, labels = _labelled(history, data)
    split(events.event_time_ms, labels, settings, events.accounts)
    make_folder("--out", output)
    began_s = time.monotonic()
    trained = _fit(events, labels, schema, settings)
    seconds = round(time.monotonic() - began_s, 1)
    named = name or f"{settings.scorer.pack}-{settings.scorer.cell.name}"
    facts = {"data": data.name, "seconds": seconds}
    difference = _export(trained, output, named, version, facts)
    figures = {name: round(value, 4) for name, value in trained.metrics.items()}
    if json:
        print_json({"bundle": str(output), "validation": figures, "seconds": seconds})
        return
    out.print(f"{output}: trained in {seconds:,.0f} s, validation {_line(figures)}")
    out.print(f"the graph and PyTorch differ by at most {difference:.1e}")


def _training_settings(
    folder: Path, epochs: int | None, seed: int | None, family: str | None
) -> TrainConfig:
    """Return a pack's settings for a family, with what the command line says over them."""
    changes = {"epochs": epochs, "seed": seed}
    given = {name: value for name, value in changes.items() if value is not None}
    return load_train_config(folder, family).changed(**given)


def _labelled(history: History, file: Path) -> tuple[Columns, Floats]:
    """Return the ``n`` events that can be read, and their labels; float32 ``[n]``."""
    labels = labels_of(history, file, "training")
    columns = decode_history(history, file).columns
    return replace(columns, rows=np.arange(len(columns))), labels[columns.rows]


def _fit(events: Columns, labels: Floats, schema: Schema, settings: TrainConfig) -> TrainedScorer:
    from models.training import train

    return train(events, labels, schema, settings, _print_epoch)


def _export(
    trained: TrainedScorer, output: Path, name: str, version: str, facts: Mapping[str, Any]
) -> float:
    """Write the bundle, and return by how much the graph's scores differ from PyTorch's."""
    from export.bundle import export_bundle

    return export_bundle(trained, output, name=name, version=version, training=facts).score


def _print_epoch(epoch: int, figures: Mapping[str, float]) -> None:
    err.print(f"epoch {epoch:>3}  {_line(figures)}")


def _line(figures: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in figures.items())


def require_training() -> None:
    """Check that the extra ``train`` is installed. Raises :class:`engine.errors.ConfigError`."""
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"training must have the extra train, however: {missing[0]} is not installed; "
            "pip install 'riskstream[train]'"
        )
