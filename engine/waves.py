"""Cutting a batch into waves: the first event of each account, then the second, and so on.

A graph that carries state takes one event of an account at a time, so the waves of a batch give
the same result as its events one by one, however the stream was cut into batches.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
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


def waves(account_index: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the events of each wave, as places in the batch.

    Args:
        account_index: each event's account; int64 ``[n]``, numbered by the accounts' first events,
            as :func:`index_accounts` does.

    Returns:
        Arrays of places that together hold each event once. No array holds an account twice, and
        an account's events are in the order of the batch. The first one holds each account's first
        event, in the order of the accounts.

    Raises:
        ValueError: the accounts are numbered otherwise.

    >>> [wave.tolist() for wave in waves(np.array([0, 1, 0, 0, 2]))]
    [[0, 1, 4], [2], [3]]
    """
    n = len(account_index)
    if n == 0:
        return []
    places = np.arange(n, dtype=np.int64)
    if account_index[-1] == n - 1 and account_index.tobytes() == places.tobytes():
        # No account twice.
        return [places]
    highest = np.maximum.accumulate(account_index)
    is_first = np.ones(n, dtype=np.bool_)
    np.greater(account_index[1:], highest[:-1], out=is_first[1:])
    firsts = np.flatnonzero(is_first)
    if account_index[0] != 0 or highest[-1] != len(firsts) - 1:
        raise ValueError(
            "accounts must be numbered 0, 1, 2 by their first events, however: the first events' "
            f"are {account_index[firsts][:3].tolist()}…"
        )
    # Few are left as a rule: one by one costs less than sorting.
    later: list[list[int]] = []
    seen: dict[int, int] = {}
    repeats = np.flatnonzero(~is_first)
    for place, account in zip(repeats.tolist(), account_index[repeats].tolist(), strict=True):
        rank = seen.get(account, 0)
        seen[account] = rank + 1
        if rank == len(later):
            later.append([])
        later[rank].append(place)
    return [firsts, *(np.array(each, dtype=np.int64) for each in later)]
