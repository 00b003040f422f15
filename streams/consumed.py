"""Records that were consumed, as columns: a batch needs all keys, all values and all offsets."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.records import Origin
from engine.values import FEW


class Readable(Protocol):
    """A record as a Kafka client reads it."""

    @property
    def offset(self) -> int:
        """Its place in its partition."""
        ...

    @property
    def timestamp(self) -> int:
        """When it was published, in ms since 1970."""
        ...

    @property
    def key(self) -> bytes | None:
        """Its key."""
        ...

    @property
    def value(self) -> bytes | None:
        """Its value; None for a tombstone."""
        ...


_OFFSET, _TIMESTAMP = attrgetter("offset"), attrgetter("timestamp")


class Consumed(msgspec.Struct, frozen=True):
    """``n`` records of one topic; those of a partition are in the order of their offsets.

    Args:
        topic: its name.
        partitions: the partition of each; int64 ``[n]``.
        offsets: the offset of each; int64 ``[n]``.
        timestamps_ms: when each was published, in ms since 1970; int64 ``[n]``.
        keys: ``n`` keys.
        values: ``n`` values; None is a tombstone.
    """

    topic: str
    partitions: NDArray[np.int64]
    offsets: NDArray[np.int64]
    timestamps_ms: NDArray[np.int64]
    keys: list[bytes | None]
    values: list[bytes | None]

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def of(cls, topic: str, partition: int, records: Sequence[Readable]) -> Consumed:
        """Return records of one partition."""
        n = len(records)
        return cls(
            topic,
            np.full(n, partition, dtype=np.int64),
            np.fromiter(map(_OFFSET, records), dtype=np.int64, count=n),
            np.fromiter(map(_TIMESTAMP, records), dtype=np.int64, count=n),
            [record.key for record in records],
            [record.value for record in records],
        )

    @staticmethod
    def joined(parts: Sequence[Consumed]) -> Consumed:
        """Return the records of one or more parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return Consumed(
            parts[0].topic,
            np.concatenate([each.partitions for each in parts]),
            np.concatenate([each.offsets for each in parts]),
            np.concatenate([each.timestamps_ms for each in parts]),
            [key for each in parts for key in each.keys],
            [value for each in parts for value in each.values],
        )

    def part(self, keep: NDArray[np.bool_]) -> Consumed:
        """Return some of the records; bool ``[n]``."""
        places = np.flatnonzero(keep).tolist()
        return Consumed(
            self.topic,
            self.partitions[keep],
            self.offsets[keep],
            self.timestamps_ms[keep],
            [self.keys[place] for place in places],
            [self.values[place] for place in places],
        )

    def origin(self, row: int) -> Origin:
        """Return where a record came from."""
        return Origin(
            self.topic,
            int(self.partitions[row]),
            int(self.offsets[row]),
            int(self.timestamps_ms[row]),
        )


def runs(partitions: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Return each run of equal partitions: the partition, where it begins, and where it ends.

    >>> runs(np.array([3, 3, 5, 3]))
    [(3, 0, 2), (5, 2, 3), (3, 3, 4)]
    """
    n = len(partitions)
    if n < FEW:
        return _runs_of_few(partitions.tolist())
    edges = np.flatnonzero(partitions[1:] != partitions[:-1]) + 1
    return [
        (int(partitions[start]), start, stop) for start, stop in pairwise([0, *edges.tolist(), n])
    ]


def _runs_of_few(partitions: list[int]) -> list[tuple[int, int, int]]:
    found, start = [], 0
    for stop in range(1, len(partitions) + 1):
        if stop == len(partitions) or partitions[stop] != partitions[start]:
            found.append((partitions[start], start, stop))
            start = stop
    return found
