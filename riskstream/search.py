"""``riskstream search``: better settings of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from engine.errors import ConfigError
from models.config import TRAINING_FILE, TrainConfig, read_toml
from models.packs.code import load_code
from models.packs.registry import find_pack
from models.search_space import load_space
from models.toml_text import toml_families, toml_lines, toml_value
from riskstream.histories import Period
from riskstream.options import (
    EXIT_INTERRUPTED,
    ConfigOption,
    FieldOption,
    FromOption,
    JsonOption,
    UntilOption,
    err,
    out,
    print_json,
    writable,
)
from riskstream.training_data import Labelled
from riskstream.training_options import (
    DeviceOption,
    FamilyOption,
    SetOption,
    check_device,
    require_training,
    training_settings,
)
from riskstream.training_view import TrainingView

if TYPE_CHECKING:
    from models.search import Found, Search


def search(
    pack: Annotated[str, typer.Argument(help="What kind of model: fraud, or a pack's folder.")],
    data: Annotated[Path, typer.Option(help="A .parquet, .csv or .jsonl file with labels.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="The training.toml to write; .toml.")],
    trials: Annotated[int, typer.Option(min=1, help="How many trainings to try.")] = 30,
    study: Annotated[
        Path | None,
        typer.Option(help="The SQLite file of the trials; as --out with .db if none."),
    ] = None,
    family: FamilyOption = None,
    given: SetOption = None,
    device: DeviceOption = "auto",
    start: FromOption = None,
    until: UntilOption = None,
    field: FieldOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    r"""Search for better settings of a training, and write them as a training.toml.

    What is searched stands in the pack's search.toml. Each trial trains on the
    history's training period, and is judged by the average precision on its
    validation period: leave out with --until what the model is judged on.
    Interrupted, the same command goes on. Needs the extra riskstream\[train].

    [bold]Examples[/bold]

      riskstream search fraud --data raw.parquet --until 2026-06-01 -o new.toml

      riskstream search ./my-pack --data mine.csv --trials 90 -o new.toml
    """
    folder = find_pack(pack)
    require_training("optuna")
    load_code(folder)
    check_device(device)
    if output.suffix != ".toml":
        raise ConfigError(f"--out must end in .toml, however: {output}")
    settings = training_settings(folder, family, given)
    space = load_space(folder, settings)
    events = Labelled(folder, settings, data, Period(start, until), field, config).read()
    from models.processes import joined
    from models.search import Search
    from models.training import prepare

    with joined(device) as processes:
        with TrainingView(err, settings.epochs) as view:
            prepared = prepare(events.columns, events.labels, events.schema, settings, view)
        kept = study or output.with_suffix(".db")
        found = Search(prepared, settings, space, kept, processes)
        _run(found, trials, kept)
    best = found.best()
    with writable("--out", output):
        output.write_text(_text(folder, settings, best[0], found.done), encoding="utf-8")
    _tell(best, output, found.done, json)


def _run(found: Search, trials: int, kept: Path) -> None:
    if found.done:
        err.print(f"going on after trial {found.done}, from {escape(str(kept))}")
    try:
        found.run(trials, _print_trial)
    except KeyboardInterrupt:
        err.print(f"interrupted; the same command goes on from {escape(str(kept))}")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _print_trial(found: Found) -> None:
    err.print(f"trial {found.number + 1:>3}  {_figure(found)}  {escape(_line(found.settings))}")


def _tell(best: Sequence[Found], output: Path, done: int, json: bool) -> None:
    if json:
        told = [
            {"settings": each.settings, "average_precision": each.average_precision}
            for each in best
        ]
        print_json({"out": str(output), "trials": done, "best": told})
        return
    out.print(f"the best of {done} trials, by average precision on the validation period:")
    for each in best:
        out.print(f"{_figure(each)}  {escape(_line(each.settings))}")
    out.print(f"{output}: the first of them; put it into the pack to train with it")


def _figure(found: Found) -> str:
    value = found.average_precision
    return "ended " if value is None else f"{value:.4f}"


def _line(settings: Mapping[str, Any]) -> str:
    plain = {name: value for name, value in settings.items() if name != "cell"}
    plain |= {f"cell.{name}": value for name, value in settings.get("cell", {}).items()}
    return "  ".join(f"{name}={_short(value)}" for name, value in plain.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else toml_value(value)


def _text(folder: Path, settings: TrainConfig, best: Found, trials: int) -> str:
    """Return the pack's training.toml with what was found for one family."""
    raw = read_toml(folder / TRAINING_FILE)
    families = raw.pop("families", {})
    family = settings.scorer.cell.name
    cell = {**settings.scorer.cell.options, **best.settings.get("cell", {})}
    own = {**families.get(family, {}), **best.settings, **({"cell": cell} if cell else {})}
    note = (
        f"# Of {family}: the best of {trials} trials, with an average precision of "
        f"{best.average_precision:.4f} on the validation period."
    )
    tables = toml_families({**families, family: own})
    return f"{toml_lines(raw)}\n\n{note}\n{tables}\n"
