"""The cells by the name of their family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import ConfigError
from models.cells.base import Cell
from models.cells.gru import GruCell
from models.cells.mlp import MlpCell

CELLS: dict[str, type[Cell]] = {"gru": GruCell, "mlp": MlpCell}


def build_cell(family: str, inputs: int, options: Mapping[str, Any]) -> Cell:
    """Return a cell by the name of its family.

    Args:
        family: a key of :data:`CELLS`.
        inputs: the width of the encoded features.
        options: the other keyword arguments of its constructor.

    Raises:
        ConfigError: there is no such family, or it has no such option.
    """
    if family not in CELLS:
        raise ConfigError(
            f"a cell's family must be one of {', '.join(CELLS)}, however: {family!r}; "
            "change it in scorer.toml"
        )
    try:
        return CELLS[family](inputs=inputs, **options)
    except TypeError as error:
        raise ConfigError(
            f"the options of the cell {family} must be those it has, however: {error}; "
            "change them in scorer.toml"
        ) from None
