"""A cell's training and its serving are one function, whatever the histories look like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.errors import ConfigError
from models.cells.base import Cell
from models.cells.registry import CELLS, build_cell

ACCOUNTS, INPUTS = 3, 4

#: Each family as it comes, and with options that its defaults do not show.
KINDS: tuple[tuple[str, dict[str, int]], ...] = (
    *((family, {}) for family in CELLS),
    ("cnn", {"size": 5, "kept": 2, "layers": 3, "kernel": 3}),
    ("cnn", {"layers": 1}),
    ("attention", {"size": 6, "kept": 3, "events": 4, "heads": 3, "blocks": 2}),
    ("attention", {"events": 1, "heads": 1}),
)
REMEMBERING = [kind for kind in KINDS if kind[0] != "mlp"]

every_kind = pytest.mark.parametrize(("family", "options"), KINDS)
every_memory = pytest.mark.parametrize(("family", "options"), REMEMBERING)


def a_cell(family: str, options: dict[str, int]) -> Cell:
    """A cell whose every weight matters."""
    torch.manual_seed(0)
    cell = build_cell(family, INPUTS, options)
    with torch.no_grad():
        for weight in cell.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return cell


def histories(seed: int, steps: int) -> Tensor:
    return torch.from_numpy(
        np.random.default_rng(seed).normal(0, 1, (ACCOUNTS, steps, INPUTS)).astype(np.float32)
    )


def a_state(cell: Cell, seed: int = 9) -> Tensor:
    """What the cell carries after some events, of which one account has none."""
    x = histories(seed, 6)
    valid = torch.ones(ACCOUNTS, 6, dtype=torch.bool)
    valid[0] = False
    with torch.no_grad():
        return Cell.sequence(cell, x, torch.zeros(ACCOUNTS, cell.state_size), valid)[1]


@every_kind
@settings(deadline=None, max_examples=40, derandomize=True)
@given(data=st.data())
def test_step_and_sequence_are_the_same_function(
    family: str, options: dict[str, int], data: st.DataObject
) -> None:
    cell = a_cell(family, options)
    steps = data.draw(st.integers(1, 24), "steps")
    gaps = st.lists(st.booleans(), min_size=steps, max_size=steps)
    valid = torch.tensor([data.draw(gaps, "valid") for _ in range(ACCOUNTS)])
    cuts = sorted(data.draw(st.sets(st.integers(1, steps), max_size=3), "cuts") | {steps})
    x = histories(data.draw(st.integers(0, 99), "seed"), steps)
    h = a_state(cell) if data.draw(st.booleans(), "known") else torch.zeros(3, cell.state_size)
    with torch.no_grad():
        plain_z, plain_last = Cell.sequence(cell, x, h, valid)
        parts, start = [], 0
        for cut in cuts:
            z, h = cell.sequence(x[:, start:cut], h, valid[:, start:cut])
            parts.append(z)
            start = cut
    torch.testing.assert_close(torch.cat(parts, dim=1), plain_z, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(h, plain_last, atol=1e-5, rtol=1e-5)


@every_memory
def test_steps_that_are_no_events_leave_the_state_as_it_is(
    family: str, options: dict[str, int]
) -> None:
    cell = a_cell(family, options)
    x, h = histories(1, 10), a_state(cell)
    valid = torch.zeros(ACCOUNTS, 10, dtype=torch.bool)
    valid[1, 4] = True
    last = cell.sequence(x, h, valid)[1]
    assert torch.equal(last[[0, 2]], h[[0, 2]])
    assert not torch.equal(last[1], h[1])


@every_kind
def test_what_comes_later_changes_nothing_before(family: str, options: dict[str, int]) -> None:
    cell = a_cell(family, options)
    x, valid = histories(2, 12), torch.ones(ACCOUNTS, 12, dtype=torch.bool)
    start = torch.zeros(ACCOUNTS, cell.state_size)
    before = cell.sequence(x, start, valid)[0]
    other = x.clone()
    other[:, 7] += 3.0
    after = cell.sequence(other, start, valid)[0]
    assert torch.equal(after[:, :7], before[:, :7])
    assert not torch.equal(after[:, 7], before[:, 7])


@every_memory
def test_what_came_before_matters_and_is_learnt_from(family: str, options: dict[str, int]) -> None:
    cell = a_cell(family, options)
    x = histories(3, 5).requires_grad_()
    start = torch.zeros(ACCOUNTS, cell.state_size)
    z, _ = cell.sequence(x, start, torch.ones(ACCOUNTS, 5, dtype=torch.bool))
    (z[:, 4] * torch.randn(cell.output_size)).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert (x.grad[:, 3].abs().sum(dim=1) > 1e-6).all()
    unused = [name for name, weight in cell.named_parameters() if weight.grad is None]
    assert unused == []


@every_memory
def test_an_account_that_is_new_is_not_taken_for_one_that_did_little(
    family: str, options: dict[str, int]
) -> None:
    cell = a_cell(family, options)
    x = histories(4, 2)
    new = torch.zeros(ACCOUNTS, cell.state_size)
    known = cell.step(torch.zeros(ACCOUNTS, INPUTS), new)[1]
    difference = (cell.step(x[:, 1], known)[0] - cell.step(x[:, 1], new)[0]).abs()
    assert (difference.amax(dim=1) > 1e-4).all()


def test_an_empty_slot_is_not_attended_to() -> None:
    cell = a_cell("attention", {"events": 4, "kept": 3})
    x = histories(5, 1)[:, 0]
    zeros = torch.zeros(ACCOUNTS, cell.state_size)
    filled = zeros.clone()
    filled[:, : 4 * 3] = 50.0  # the vectors, whose weights stay 0
    assert torch.equal(cell.step(x, zeros)[0], cell.step(x, filled)[0])


def test_a_convolution_reaches_as_far_back_as_it_says() -> None:
    cell = a_cell("cnn", {"layers": 3, "kernel": 2})
    x = histories(6, 12).requires_grad_()
    start = torch.zeros(ACCOUNTS, cell.state_size)
    z, _ = cell.sequence(x, start, torch.ones(ACCOUNTS, 12, dtype=torch.bool))
    z[:, -1].sum().backward()
    assert x.grad is not None
    reached = x.grad.abs().sum(dim=(0, 2)) > 0
    assert reached.tolist() == [False] * 4 + [True] * 8


@pytest.mark.parametrize(
    ("family", "options", "found"),
    [
        ("gruu", {}, "gruu"),
        ("gru", {"sizes": 3}, "sizes"),
        ("gru", {"size": 0}, "size of gru is 0"),
        ("cnn", {"layers": 2.5}, "2.5"),
        ("cnn", {"kernel": 1}, "1; .*mlp"),
        ("cnn", {"layers": 12}, "layers"),
        ("attention", {"heads": True}, "True"),
        ("attention", {"events": "16"}, "'16'"),
        ("attention", {"events": 600}, "600"),
    ],
)
def test_what_does_not_exist_is_refused(family: str, options: dict[str, Any], found: str) -> None:
    with pytest.raises(ConfigError, match=f"however: .*{found}"):
        build_cell(family, INPUTS, options)
