"""What a training goes over in an epoch: windows of the accounts' histories, in random order.

Each history is cut anew in each epoch, at random places. Batches of windows from all accounts and
times are nearly independent draws, unlike batches of whole histories, so a network learns more of
each epoch. What a cell remembers where a window begins is computed once an epoch, without
gradients, and stored beside the window (as replayed sequences carry their recurrent state in R2D2:
Kapturowski et al., 2019, "Recurrent experience replay in distributed reinforcement learning").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data import Chunk, Histories
from models.processes import ALONE, Processes
from models.scorer import Scorer

#: Windows that are taken at once where nothing is learnt.
_WIDE = 4096


@dataclass(frozen=True, slots=True)
class Cut:
    """The windows of all histories, account by account, in the order of time; ``w`` in all.

    Args:
        histories: what is cut.
        steps: the most events of a window, ``T``.
        account: whose each is, int64 ``[w]``.
        turn: which of its account's windows each is, from 0 on, int64 ``[w]``.
        start: where each begins in ``histories.order``, int64 ``[w]``.
        length: its number of events, int64 ``[w]``.
    """

    histories: Histories
    steps: int
    account: NDArray[np.int64]
    turn: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start)

    def chunk(self, places: NDArray[np.int64]) -> Chunk:
        """Return the rows of the windows at ``places``, int64 ``[A]``; as long as the longest."""
        step = np.arange(self.length[places].max(initial=1))[None, :]
        valid = step < self.length[places][:, None]
        index = np.where(valid, self.start[places][:, None] + step, 0)
        rows = np.where(valid, self.histories.order[index], 0)
        return Chunk(torch.from_numpy(rows), torch.from_numpy(valid))

    def turns(self) -> Iterator[NDArray[np.int64]]:
        """Yield every account's first window, then every second one, and so on."""
        order = np.argsort(self.turn, kind="stable")
        ends = np.cumsum(np.bincount(self.turn))
        yield from np.split(order, ends[:-1])

    def with_any(self, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the places of the windows that have at least one of these rows, bool ``[n]``."""
        before = np.concatenate(([0], np.cumsum(rows[self.histories.order])))
        return np.flatnonzero(before[self.start + self.length] > before[self.start])


def cut(histories: Histories, steps: int, rng: np.random.Generator) -> Cut:
    """Cut each history into windows of ``steps`` events; its first one and last one may be shorter.

    >>> found = cut(Histories(np.zeros(5), np.arange(5), np.array([0, 5])), 2,
    ...             np.random.default_rng(1))
    >>> found.start.tolist(), found.length.tolist()
    ([0, 1, 3], [1, 2, 2])
    """
    lengths = histories.lengths
    first = np.minimum(rng.integers(1, steps + 1, len(lengths)), lengths)
    counts = np.where(lengths > 0, 1 + -(-(lengths - first) // steps), 0)
    account = np.repeat(np.arange(len(lengths)), counts)
    turn = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    offset = np.where(turn == 0, 0, first[account] + (turn - 1) * steps)
    length = np.where(turn == 0, first[account], np.minimum(steps, lengths[account] - offset))
    return Cut(histories, steps, account, turn, histories.starts[account] + offset, length)


def batches(
    places: NDArray[np.int64], size: int, rng: np.random.Generator, share: tuple[int, int] = (0, 1)
) -> list[NDArray[np.int64]]:
    """Shuffle windows, and split them into batches of equal size up to one.

    Args:
        places: of the windows, int64 ``[w]``.
        size: how many are in a batch, at most.
        share: ``(rank, size)``: every ``size``-th window of each batch, from the ``rank``-th on.

    >>> [each.tolist() for each in batches(np.array([4, 7, 9]), 2, np.random.default_rng(0))]
    [[9, 4], [7]]
    """
    rank, ranks = share
    shuffled = rng.permutation(places)
    parts = np.array_split(shuffled, max(1, -(-len(shuffled) // size)))
    return [each[rank::ranks] for each in parts]


def starting_states(
    scorer: Scorer,
    windows: Cut,
    encoded: Tensor,
    fresh: Tensor,
    processes: Processes = ALONE,
) -> Tensor:
    """Return what the cell remembers where each window begins, float32 ``[w, state_size]``.

    Args:
        scorer: whose cell.
        windows: ``w`` of them.
        encoded: the events' encoded features, float32 ``[n, 2 f]``.
        fresh: which events are no repeats, bool ``[n]``.
        processes: each of them takes a part of the accounts.
    """
    size, device = scorer.cell.state_size, encoded.device
    states = torch.zeros(len(windows), size, device=device)
    if size == 0:
        return states
    held = torch.zeros(len(windows.histories.lengths), size, device=device)
    with torch.no_grad():
        for places in _own_turns(windows, processes):
            own = torch.from_numpy(windows.account[places]).to(device)
            states[torch.from_numpy(places).to(device)] = held[own]
            chunk = windows.chunk(places).to(device)
            valid = chunk.valid & fresh[chunk.rows]
            _, held[own] = scorer.cell.sequence(encoded[chunk.rows], held[own], valid)
    return processes.add_up(states)


def _own_turns(windows: Cut, processes: Processes) -> Iterator[NDArray[np.int64]]:
    """Yield the places of this process's accounts' windows, turn by turn, some at once."""
    for turn in windows.turns():
        own = turn[windows.account[turn] % processes.size == processes.rank]
        yield from np.array_split(own, -(-len(own) // _WIDE)) if len(own) else ()
