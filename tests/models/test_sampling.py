"""The windows of an epoch: every event once, cut anew, and begun with what the cell remembers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.cells.registry import CELLS
from models.config import Part
from models.data import Histories, by_account
from models.sampling import batches, cut, starting_states
from models.scorer import Scorer
from tests.models.tools import SCHEMA, train_config


def histories_of(events: int = 500, accounts: int = 30, seed: int = 0) -> Histories:
    return by_account(np.random.default_rng(seed).integers(0, accounts, events))


@given(
    owners=st.lists(st.integers(0, 6), min_size=1, max_size=60),
    steps=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_each_event_is_in_one_window_of_its_account(
    owners: list[int], steps: int, seed: int
) -> None:
    histories = by_account(np.array(owners))
    windows = cut(histories, steps, np.random.default_rng(seed))
    assert windows.length.min() >= 1
    assert windows.length.max() <= steps
    chunk = windows.chunk(np.arange(len(windows)))
    assert sorted(chunk.rows[chunk.valid].tolist()) == list(range(len(owners)))
    of_row = histories.account[chunk.rows.numpy()]
    assert (of_row == windows.account[:, None])[chunk.valid.numpy()].all()
    ends = windows.start + windows.length
    for before, after in pairwise(range(len(windows))):
        if windows.account[before] == windows.account[after]:
            assert windows.start[after] == ends[before]
            assert windows.turn[after] == windows.turn[before] + 1


def test_histories_that_end_before_the_training_have_no_window() -> None:
    histories = histories_of().until(10)
    windows = cut(histories, 4, np.random.default_rng(0))
    assert windows.length.sum() == 10
    assert (histories.lengths[np.unique(windows.account)] > 0).all()
    assert 0 in histories.lengths


def test_each_epoch_cuts_at_other_places() -> None:
    histories = histories_of()
    first, second = (cut(histories, 8, np.random.default_rng(seed)) for seed in (0, 1))
    assert set(first.start.tolist()) != set(second.start.tolist())


def test_windows_without_a_wanted_event_are_left_out() -> None:
    histories = histories_of()
    windows = cut(histories, 8, np.random.default_rng(0))
    wanted = np.zeros(500, dtype=bool)
    wanted[[3, 4, 77, 499]] = True
    places = windows.with_any(wanted)
    chunk = windows.chunk(places)
    has = (torch.from_numpy(wanted)[chunk.rows] & chunk.valid).any(1)
    assert has.all()
    assert (torch.from_numpy(wanted)[chunk.rows] & chunk.valid).sum() == 4


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_the_shares_of_a_batch_are_all_of_it(ranks: int) -> None:
    places = np.arange(100, 201)
    shares = [batches(places, 16, np.random.default_rng(5), (rank, ranks)) for rank in range(ranks)]
    assert {len(each) for each in shares} == {7}
    together = [np.concatenate([share[at] for share in shares]) for at in range(7)]
    assert max(map(len, together)) <= 16
    assert sorted(np.concatenate(together).tolist()) == places.tolist()
    assert np.concatenate(together).tolist() != places.tolist()


@pytest.mark.parametrize("family", sorted(CELLS))
def test_a_window_begins_with_what_its_account_left_behind(family: str) -> None:
    torch.manual_seed(0)
    config = replace(train_config().scorer, cell=Part(family, {}))
    scorer = Scorer(SCHEMA, config).eval()
    histories = histories_of(events=90, accounts=4)
    encoded = torch.randn(90, scorer.encoder.output_size)
    fresh = torch.from_numpy(np.random.default_rng(1).random(90) > 0.1)
    windows = cut(histories, 3, np.random.default_rng(2))
    states = starting_states(scorer, windows, encoded, fresh)
    assert states.shape == (len(windows), scorer.cell.state_size)
    for place in range(len(windows)):
        first = histories.starts[windows.account[place]]
        rows = histories.order[first : windows.start[place]]
        rows = rows[fresh.numpy()[rows]]
        h = torch.zeros(1, scorer.cell.state_size)
        with torch.no_grad():
            for row in rows:
                _, h = scorer.cell.step(encoded[row][None], h)
        torch.testing.assert_close(states[place][None], h)
