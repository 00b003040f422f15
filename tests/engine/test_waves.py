from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.waves import index_accounts, waves

_indices = st.lists(st.integers(0, 6), max_size=60).map(lambda each: index_accounts(each)[1])


@given(_indices)
def test_the_waves_hold_each_event_once(account_index: np.ndarray) -> None:
    places = [place for wave in waves(account_index) for place in wave.tolist()]
    assert sorted(places) == list(range(len(account_index)))


@given(_indices)
def test_no_wave_holds_an_account_twice(account_index: np.ndarray) -> None:
    for wave in waves(account_index):
        accounts = account_index[wave].tolist()
        assert accounts
        assert len(set(accounts)) == len(accounts)


@given(_indices)
def test_an_account_keeps_its_order(account_index: np.ndarray) -> None:
    places = np.array([place for wave in waves(account_index) for place in wave.tolist()])
    for account in set(account_index.tolist()):
        own = places[account_index[places] == account]
        assert own.tolist() == np.flatnonzero(account_index == account).tolist()


@given(_indices)
def test_there_are_as_many_waves_as_the_busiest_account_has_events(
    account_index: np.ndarray,
) -> None:
    busiest = max(np.bincount(account_index).tolist(), default=0)
    assert len(waves(account_index)) == busiest


@given(_indices)
def test_the_first_wave_has_every_account_in_its_order(account_index: np.ndarray) -> None:
    for first in waves(account_index)[:1]:
        assert account_index[first].tolist() == list(range(int(account_index.max()) + 1))


@pytest.mark.parametrize("account_index", [[1, 0], [0, 2], [2, 2, 2], [0, 0, 5, 1]])
def test_accounts_numbered_otherwise_are_refused(account_index: list[int]) -> None:
    with pytest.raises(ValueError, match="numbered 0, 1, 2 by their first events, however"):
        waves(np.array(account_index, dtype=np.int64))


@given(st.lists(st.text(max_size=2), max_size=60))
def test_accounts_are_indexed_by_their_first_event(accounts: list[str]) -> None:
    different, index = index_accounts(accounts)
    assert different == list(dict.fromkeys(accounts))
    assert [different[at] for at in index.tolist()] == accounts
    assert index.dtype == np.int64


def test_no_events_make_no_waves() -> None:
    different, index = index_accounts([])
    assert different == []
    assert index.shape == (0,)
    assert len(waves(index)) == 0
