"""``riskstream train``: from a history to a bundle."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from engine.decode import Decoder, Limits
from engine.errors import ConfigError, HistoryError
from engine.history import History
from models.packs.registry import load_schema, pack_folder
from riskstream.options import (
    ConfigOption,
    FieldOption,
    FromOption,
    JsonOption,
    UntilOption,
    err,
    make_folder,
    map_fields,
    out,
    parse_time,
    print_json,
    settings_of,
)

_EXTRA = ("onnxscript", "sklearn", "torch")


def train(
    pack: Annotated[str, typer.Argument(help="What kind of model: fraud.")],
    data: Annotated[Path, typer.Option(help="A .parquet, .csv or .jsonl file with labels.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="The bundle's folder.")],
    family: Annotated[
        str | None, typer.Option(help="The sequence cell, instead of the pack's: gru or mlp.")
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
    """
    folder = pack_folder(pack)
    require_training()
    from export.bundle import export_bundle
    from models.config import load_train_config
    from models.training import train as fit

    settings = load_train_config(folder)
    changes = {"epochs": epochs, "seed": seed}
    settings = settings.changed(**{k: v for k, v in changes.items() if v is not None})
    if family is not None:
        settings = settings.with_family(family)
    schema = load_schema(folder)
    mapped = map_fields(schema, settings_of(config), field)
    history = History.open(data, mapped, parse_time("--from", start), parse_time("--until", until))
    if history.labels is None:
        path = mapped.label.path if mapped.label else "label"
        raise HistoryError(
            f"training must have labels, however: {data.name} has no column {path!r}; "
            "map it with --field"
        )
    make_folder("--out", output)
    decoded = history.decode(Decoder(mapped, Limits()), time.time_ns() // 1_000_000)
    if decoded.rejects:
        err.print(
            f"{len(decoded.rejects):,} events are left out, first: {decoded.rejects[0].detail}"
        )
    columns = replace(decoded.columns, rows=np.arange(len(decoded.columns)))
    labels = history.labels[decoded.columns.rows]
    began_s = time.monotonic()
    trained = fit(columns, labels, schema, settings, _print_epoch)
    seconds = time.monotonic() - began_s
    parity = export_bundle(
        trained,
        output,
        name=name or f"{pack}-{settings.scorer.cell.name}",
        version=version,
        training={"data": data.name, "seconds": round(seconds, 1)},
    )
    figures = {name: round(value, 4) for name, value in trained.metrics.items()}
    if json:
        print_json({"bundle": str(output), "validation": figures, "seconds": round(seconds, 1)})
        return
    out.print(f"{output}: trained in {seconds:,.0f} s, validation {_line(figures)}")
    out.print(f"the graph and PyTorch differ by at most {parity.score:.1e}")


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
