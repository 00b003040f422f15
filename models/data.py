"""From a history of events to what a scorer is trained on.

The features of a history are made by the very modules that are served. The history is walked as
the stream is: in segments within which all events read the same closed buckets of shared entities,
and in each of them the first event of every account, then the second, and so on, as one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.additions import Labels
from engine.columns import Columns
from engine.hashing import hash_strings
from engine.knowledge import Knowledge
from engine.schema import Schema
from engine.shared import kept_columns, kept_features
from engine.waves import index_accounts, waves
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

    def until(self, row: int) -> Histories:
        """Return them without the rows from ``row`` on; an account may have none left.

        >>> by_account(np.array([7, 5, 7])).until(2).starts.tolist()
        [0, 1, 2]
        """
        kept = self.order < row
        starts = np.concatenate(([0], np.cumsum(kept)))[self.starts].astype(np.int64)
        return Histories(self.account, self.order[kept], starts)


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """``columns`` float32 ``[n, f]`` and ``duplicate`` bool ``[n]``, in the history's order.

    What is late is there with the repeats, where the scorer does not count it.
    """

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


def feature_table(
    scorer: Scorer,
    columns: Columns,
    histories: Histories,
    labels: NDArray[np.float32],
    label_delay_ms: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> FeatureTable:
    """Make the features of a history.

    Args:
        scorer: whose features; its weights are not used.
        columns: the history, ``n`` events sorted by time.
        histories: its rows by account.
        labels: 1 fraud, 0 genuine, NaN unknown; float32 ``[n]``.
        label_delay_ms: how long after its event a label is known. Shared entities learn it then.
        on_progress: is told how many events have their features, of how many.
    """
    walk = _Walk(scorer, columns, histories)
    schema = scorer.schema
    knowledge = Knowledge(schema, scorer.shared)
    with torch.inference_mode():
        for segment in knowledge.segments(columns.event_time_ms):
            own = columns.take(np.arange(segment.start, segment.stop))
            walk.segment(segment, knowledge.read(own))
            own = replace(own, values={**own.values, **walk.kept(segment)})
            fresh = ~walk.duplicate[segment].numpy()
            knowledge.add_events(own, fresh)
            known = np.where(fresh, labels[segment], np.float32(np.nan))
            known_ms = own.event_time_ms + label_delay_ms
            knowledge.add_labels(Labels.of(schema, own, known, known_ms))
            if on_progress is not None:
                on_progress(segment.stop, len(columns))
    return FeatureTable(walk.made, walk.duplicate.numpy())


class _Walk:
    """The features of a history, segment by segment, with the accounts' states carried along."""

    def __init__(self, scorer: Scorer, columns: Columns, histories: Histories) -> None:
        self.scorer = scorer
        self.events = {name: torch.from_numpy(columns.values[name]) for name in scorer.inputs}
        self.owner = torch.from_numpy(histories.account)
        self.state = {
            dtype: torch.zeros(len(histories.lengths), size, dtype=getattr(torch, dtype))
            for dtype, size in scorer.layout.sizes.items()
        }
        self.made = torch.zeros(len(columns), len(scorer.outputs))
        self.duplicate = torch.zeros(len(columns), dtype=torch.bool)

    def segment(self, rows: slice, shared: Mapping[str, NDArray[np.float32]]) -> None:
        """Make the features of these rows, whose buckets are ``shared``."""
        buckets = {name: torch.from_numpy(part) for name, part in shared.items()}
        _, index = index_accounts(self.owner[rows].tolist())
        for wave in waves(index):
            for place in torch.split(torch.from_numpy(wave), _SLICE):
                self._batch(place + rows.start, {n: part[place] for n, part in buckets.items()})

    def kept(self, rows: slice) -> dict[str, NDArray[np.float32]]:
        """Return what shared entities need of these rows' features."""
        made = self.made[rows].numpy()[:, list(self.scorer.kept)]
        return kept_columns(kept_features(self.scorer.shared), made)

    def _batch(self, rows: Tensor, shared: Mapping[str, Tensor]) -> None:
        own = self.owner[rows]
        batch = {name: column[rows] for name, column in self.events.items()}
        held = {dtype: part[own] for dtype, part in self.state.items()}
        self.made[rows], self.duplicate[rows], new = self.scorer.features(batch, held, shared)
        for dtype, part in new.items():
            self.state[dtype][own] = part


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some steps of some accounts.

    Args:
        rows: rows of the history, int64 ``[A, T]``; 0 where there is no event.
        valid: where there is one, bool ``[A, T]``.
    """

    rows: Tensor
    valid: Tensor

    def to(self, device: torch.device) -> Chunk:
        """Return it on a device."""
        return Chunk(self.rows.to(device), self.valid.to(device))


def walks(
    histories: Histories, accounts: int, steps: int, share: tuple[int, int] = (0, 1)
) -> Iterator[Iterator[Chunk]]:
    """Yield, for each group of accounts, its chunks from the histories' beginning to their end.

    Accounts of like length are grouped, so that little is padding.

    Args:
        histories: the rows by account.
        accounts: how many accounts a group has, at most.
        steps: how many events of each a chunk has, at most.
        share: ``(rank, size)``: every ``size``-th group, from the ``rank``-th on.
    """
    rank, size = share
    order = np.argsort(histories.lengths, kind="stable")
    for at in range(rank * accounts, len(order), size * accounts):
        group = order[at : at + accounts]
        longest = int(histories.lengths[group].max())
        starts = range(0, longest, steps)
        yield (_chunk(histories, group, range(at, min(at + steps, longest))) for at in starts)


def _chunk(histories: Histories, group: NDArray[np.int64], steps: range) -> Chunk:
    place = np.arange(steps.start, steps.stop)[None, :]
    valid = place < histories.lengths[group][:, None]
    index = np.where(valid, histories.starts[group][:, None] + place, 0)
    rows = np.where(valid, histories.order[index], 0)
    return Chunk(torch.from_numpy(rows), torch.from_numpy(valid))
