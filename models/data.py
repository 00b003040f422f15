"""From a history of events to what a scorer is trained on.

The features of a history are made by the very modules that are served, event by event: the first
event of every account, then the second, and so on, each of these waves as one batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.columns import Columns
from engine.hashing import hash_strings
from engine.schema import Schema
from engine.waves import waves
from models.scorer import Scorer

#: Events of one wave that are taken at once; more do not fit the processor's caches.
_SLICE = 2048


@dataclass(frozen=True, slots=True)
class Histories:
    """The rows of a history by account.

    Args:
        account: the number of each row's account, int64 ``[n]``, 0 to ``accounts - 1``.
        order: the rows, account by account, each in the history's order, int64 ``[n]``.
        starts: where each account begins in ``order``, int64 ``[accounts + 1]``.
    """

    account: NDArray[np.int64]
    order: NDArray[np.int64]
    starts: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of rows of each account, int64 ``[accounts]``."""
        return np.diff(self.starts)


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """``columns`` float32 ``[n, f]`` and ``duplicate`` bool ``[n]``, in the history's order."""

    columns: Tensor
    duplicate: NDArray[np.bool_]


def by_account(accounts: NDArray[np.int64]) -> Histories:
    """Group a history's rows by account.

    Args:
        accounts: the hash of each row's account, int64 ``[n]``.

    >>> by_account(np.array([7, 5, 7])).order.tolist()
    [1, 0, 2]
    """
    _, number = np.unique(accounts, return_inverse=True)
    order = np.argsort(number, kind="stable")
    starts = np.concatenate(([0], np.cumsum(np.bincount(number)))).astype(np.int64)
    return Histories(number.astype(np.int64), order, starts)


def account_hashes(columns: Columns, schema: Schema) -> NDArray[np.int64]:
    """Return the hash of each event's account, int64 ``[n]``."""
    column = columns.values.get(schema.account.name)
    return hash_strings(columns.accounts) if column is None else column


def feature_table(scorer: Scorer, columns: Columns, histories: Histories) -> FeatureTable:
    """Make the features of a history.

    Args:
        scorer: whose features; its weights are not used.
        columns: the history, ``n`` events sorted by time.
        histories: its rows by account.
    """
    events = {name: torch.from_numpy(columns.values[name]) for name in scorer.inputs}
    accounts = len(histories.lengths)
    state = {
        dtype: torch.zeros(accounts, size, dtype=getattr(torch, dtype))
        for dtype, size in scorer.layout.sizes.items()
    }
    made = torch.zeros(len(columns), len(scorer.outputs))
    duplicate = torch.zeros(len(columns), dtype=torch.bool)
    owner = torch.from_numpy(histories.account)
    with torch.inference_mode():
        for rows in _slices(histories):
            own = owner[rows]
            batch = {name: column[rows] for name, column in events.items()}
            held = {dtype: part[own] for dtype, part in state.items()}
            made[rows], duplicate[rows], new = scorer.features(batch, held, {})
            for dtype, part in new.items():
                state[dtype][own] = part
    return FeatureTable(made, duplicate.numpy())


def _slices(histories: Histories) -> Iterator[Tensor]:
    for wave in waves(histories.account):
        yield from torch.split(torch.from_numpy(wave), _SLICE)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some steps of some accounts.

    Args:
        rows: rows of the history, int64 ``[A, T]``; 0 where there is no event.
        valid: where there is one, bool ``[A, T]``.
        first: whether the chunk begins its accounts' histories.
    """

    rows: Tensor
    valid: Tensor
    first: bool


def chunks(
    histories: Histories, accounts: int, steps: int, rng: np.random.Generator | None
) -> Iterator[Chunk]:
    """Yield the histories as chunks, each group of accounts from its beginning to its end.

    Accounts of like length are grouped, so that little is padding.

    Args:
        histories: the rows by account.
        accounts: how many accounts a chunk has, at most.
        steps: how many events of each it has, at most.
        rng: shuffles the groups; None leaves them in order.
    """
    lengths = histories.lengths
    noise = 1.0 if rng is None else rng.uniform(0.85, 1.15, len(lengths))
    by_length = np.argsort(lengths * noise, kind="stable")
    groups = [by_length[at : at + accounts] for at in range(0, len(by_length), accounts)]
    if rng is not None:
        rng.shuffle(groups)
    for group in groups:
        longest = int(lengths[group].max())
        for start in range(0, longest, steps):
            place = np.arange(start, min(start + steps, longest))[None, :]
            valid = place < lengths[group][:, None]
            index = np.where(valid, histories.starts[group][:, None] + place, 0)
            rows = np.where(valid, histories.order[index], 0)
            yield Chunk(torch.from_numpy(rows), torch.from_numpy(valid), start == 0)
