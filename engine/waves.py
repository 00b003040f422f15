"""Cutting a batch into waves: the first event of each account, then the second, and so on.

A graph that carries state takes one event of an account at a time, so the waves of a batch give
the same result as its events one by one, however the stream was cut into batches.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_K = TypeVar("_K", bound=Hashable)


def index_accounts(accounts: Iterable[_K]) -> tuple[list[_K], NDArray[np.int64]]:
    """Return the different accounts in the order of their first event, and each event's account.

    Args:
        accounts: ``n`` accounts, one an event.

    Returns:
        The ``u`` different ones, and int64 ``[n]`` with values in ``[0, u)``.

    >>> index_accounts(["a", "b", "a"])
    (['a', 'b'], array([0, 1, 0]))
    """
    places: dict[_K, int] = {}
    index = [places.setdefault(account, len(places)) for account in accounts]
    return list(places), np.array(index, dtype=np.int64)


def waves(account_index: NDArray[np.int64]) -> Sequence[NDArray[np.int64]]:
    """Return the events of each wave, as places in the batch.

    Args:
        account_index: each event's account; int64 ``[n]``.

    Returns:
        Arrays of places that together hold each event once. No array holds an account twice, and
        an account's events are in the order of the batch.

    >>> [wave.tolist() for wave in waves(np.array([0, 1, 0, 0, 2]))]
    [[0, 1, 4], [2], [3]]
    """
    n = len(account_index)
    if n == 0:
        return []
    places = np.arange(n, dtype=np.int64)
    if account_index.tobytes() == places.tobytes():
        # As `index_accounts` numbers a batch that holds no account twice.
        return [places]
    order = np.argsort(account_index, kind="stable")
    ordered = account_index[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    if len(starts) == n:
        return [places]
    lengths = np.diff(np.r_[starts, n])
    rank = np.empty(n, dtype=np.int64)
    rank[order] = places - np.repeat(starts, lengths)
    by_rank = np.argsort(rank, kind="stable")
    return np.split(by_rank, np.cumsum(np.bincount(rank))[:-1])
