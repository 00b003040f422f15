from __future__ import annotations

import pytest
import torch

from engine.errors import ConfigError
from models.cells.base import Cell
from models.cells.registry import CELLS, build_cell


@pytest.mark.parametrize("family", CELLS)
def test_step_and_sequence_are_the_same_function(family: str) -> None:
    torch.manual_seed(0)
    cell = build_cell(family, 6, {"size": 5})
    x, valid = torch.randn(4, 20, 6), torch.rand(4, 20) > 0.3
    start = torch.randn(4, cell.state_size)
    z, last = cell.sequence(x, start, valid)
    plain_z, plain_last = Cell.sequence(cell, x, start, valid)
    torch.testing.assert_close(z[valid], plain_z[valid], atol=1e-5, rtol=0)
    torch.testing.assert_close(last, plain_last, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", CELLS)
def test_a_sequence_may_be_cut_anywhere(family: str) -> None:
    torch.manual_seed(0)
    cell = build_cell(family, 3, {})
    x, valid = torch.randn(2, 9, 3), torch.ones(2, 9, dtype=torch.bool)
    start = torch.zeros(2, cell.state_size)
    whole, last = cell.sequence(x, start, valid)
    first, middle = cell.sequence(x[:, :4], start, valid[:, :4])
    second, end = cell.sequence(x[:, 4:], middle, valid[:, 4:])
    torch.testing.assert_close(torch.cat((first, second), dim=1), whole)
    torch.testing.assert_close(end, last)


@pytest.mark.parametrize(("family", "options"), [("gruu", {}), ("gru", {"sizes": 3})])
def test_what_does_not_exist_is_refused(family: str, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="however"):
        build_cell(family, 3, options)
