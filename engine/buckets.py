"""The ring of time buckets that is kept of one shared entity, and the arithmetic on it.

A ring is a fixed-size record: the newest bucket that anything was added to, counted from 1970, and
a row of sums for each of the last ``buckets + SLACK`` ones. Bucket ``b`` stands in row
``b mod length``. A bucket later than the newest moves the ring on and empties the rows it passes; a
bucket that has left the ring is added to no more.

Histories and the stream share this module. The stream's store adds with a script of its own
(``streams/store/redis/scripts``), which a test holds to :func:`add`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.shared import SharedEntity

#: Rows beyond those that are read: the open bucket, and one that has ended but not closed.
SLACK = 2

#: The newest bucket of a ring that nothing was added to. Zero, so that an absent ring is zeros.
NEVER = 0


@dataclass(frozen=True, slots=True)
class Additions:
    """What is to be added to an entity's buckets, at most once for each entity and bucket.

    Args:
        entities: the entities' hashes; int64 ``[m]``.
        buckets: which bucket, counted from 1970; int64 ``[m]``.
        amounts: what each quantity grows by; float32 ``[m, quantities]``.
    """

    entities: NDArray[np.int64]
    buckets: NDArray[np.int64]
    amounts: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.entities)

    @classmethod
    def summed(
        cls,
        entities: NDArray[np.int64],
        buckets: NDArray[np.int64],
        amounts: NDArray[np.float32],
    ) -> Additions:
        """Add up what belongs to the same entity and bucket.

        Args:
            entities: int64 ``[n]``.
            buckets: int64 ``[n]``.
            amounts: float32 ``[n, quantities]``; rows that are all zero are left out.
        """
        some = (amounts != 0).any(axis=1)
        pairs = np.stack([entities[some], buckets[some]], axis=1)
        if len(pairs) == 0:
            return cls(pairs[:, 0], pairs[:, 1], amounts[some])
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        ordered = pairs[order]
        starts = np.flatnonzero(np.r_[True, (ordered[1:] != ordered[:-1]).any(axis=1)])
        sums = np.add.reduceat(amounts[some][order].astype(np.float64), starts, axis=0)
        first = ordered[starts]
        return cls(first[:, 0], first[:, 1], sums.astype(np.float32))


def length(shared: SharedEntity) -> int:
    """Return how many rows an entity's ring has."""
    return shared.buckets + SLACK


def record(shared: SharedEntity) -> np.dtype[Any]:
    """Return the type of a ring: what a store holds of one entity, byte for byte."""
    rows = (length(shared), len(shared.quantities))
    return np.dtype([("newest", "<i8"), ("rows", "<f4", rows)])


def read(
    shared: SharedEntity, rings: NDArray[Any], event_time_ms: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the closed buckets of each event's entity, the latest first.

    Args:
        shared: the kind of entity.
        rings: each event's ring; records ``[n]``.
        event_time_ms: when each event happened; int64 ``[n]``.

    Returns:
        float32 ``[n, buckets, quantities]``; zero where nothing was added, or where the ring holds
        the bucket no more.
    """
    wanted = shared.closed(event_time_ms)[:, None] - np.arange(shared.buckets)
    newest = rings["newest"][:, None]
    held = (wanted <= newest) & (wanted > newest - length(shared))
    found = rings["rows"][np.arange(len(rings))[:, None], wanted % length(shared)]
    return np.where(held[:, :, None], found, np.float32(0))


def add(
    shared: SharedEntity, rings: NDArray[Any], places: NDArray[np.int64], additions: Additions
) -> None:
    """Add to rings, in place.

    Args:
        shared: the kind of entity.
        rings: records ``[u]``.
        places: the place in ``rings`` of each addition's entity; int64 ``[m]``.
        additions: ``m`` of them.
    """
    size = length(shared)
    newest = rings["newest"].copy()
    np.maximum.at(newest, places, additions.buckets)
    moved = np.flatnonzero(newest != rings["newest"])
    steps = np.minimum(newest[moved] - rings["newest"][moved], size)
    for step in range(int(steps.max(initial=0))):
        here = moved[steps > step]
        rings["rows"][here, (newest[here] - step) % size] = 0
    rings["newest"] = newest
    held = additions.buckets > newest[places] - size
    where = (places[held], additions.buckets[held] % size)
    np.add.at(rings["rows"], where, additions.amounts[held])
