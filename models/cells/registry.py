"""The cells by the name of their family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import ConfigError
from models.cells.attention import AttentionCell
from models.cells.base import Cell
from models.cells.cnn import CnnCell
from models.cells.gru import GruCell
from models.cells.mlp import MlpCell
from models.checks import check_family

CELLS: dict[str, type[Cell]] = {
    "gru": GruCell,
    "cnn": CnnCell,
    "attention": AttentionCell,
    "mlp": MlpCell,
}

#: The most numbers a cell may carry: 16 KiB an account.
MOST_STATE = 4096


def build_cell(family: str, inputs: int, options: Mapping[str, Any]) -> Cell:
    """Return a cell by the name of its family.

    Args:
        family: a key of :data:`CELLS`.
        inputs: the width of the encoded features.
        options: the other keyword arguments of its constructor.

    Raises:
        ConfigError: there is no such family, it has no such option, an option is not a whole
            number above 0, or it would carry more than :data:`MOST_STATE` numbers.
    """
    check_family(family)
    for name, value in options.items():
        if type(value) is not int or value < 1:
            raise ConfigError(
                f"an option of a cell must be a whole number above 0, however: {name} of {family} "
                f"is {value!r}; change it in scorer.toml or training.toml"
            )
    try:
        cell = CELLS[family](inputs=inputs, **options)
    except TypeError as error:
        raise ConfigError(
            f"the options of the cell {family} must be those it has, however: {error}; "
            "change them in scorer.toml or training.toml"
        ) from None
    if cell.state_size > MOST_STATE:
        raise ConfigError(
            f"a cell must carry at most {MOST_STATE} numbers, however: with {dict(options)} "
            f"{family} carries {cell.state_size}; change them in scorer.toml or "
            "training.toml"
        )
    return cell
