"""What a state store promises to the engine.

A store is opened for one input topic. It holds, for each of its partitions, the encoded state of
every account and one position: the offset of the next event whose effect is not yet in those
states. States and position change together or not at all, and only for the worker that knows the
position the store holds. So a worker that lost its partition cannot overwrite its successor
(fenced), a store that lost its last writes is noticed (behind), and a write whose answer got lost
may be sent again (repeated).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from enum import Enum
from typing import Protocol

import msgspec


class PartitionWrite(msgspec.Struct, frozen=True):
    """The new states of one partition and the position they bring it to.

    Raises:
        ValueError: the position does not move forward.
    """

    partition: int
    expected: int | None
    """The position this worker last read or wrote; None where the store had none."""
    position: int
    """The next offset to read once this batch is applied; higher than `expected`."""
    states: Mapping[str, bytes]
    """Account to encoded state. May be empty: dead letters move the position too."""

    def __post_init__(self) -> None:
        if self.position < 0 or (self.expected is not None and self.position <= self.expected):
            raise ValueError(
                "a write must move its partition's position forward, however: "
                f"partition={self.partition}, expected={self.expected}, position={self.position}"
            )


class WriteKind(Enum):
    """What happened to a write."""

    APPLIED = "applied"
    """States and position are written."""
    REPEATED = "repeated"
    """The store is already at the new position: an earlier try was applied. Nothing changed."""
    FENCED = "fenced"
    """The store is further: another worker owns the partition. Nothing changed."""
    BEHIND = "behind"
    """The store is less far, or has no position: it lost its last writes. Nothing changed."""


class WriteOutcome(msgspec.Struct, frozen=True):
    """The answer to one `PartitionWrite`."""

    partition: int
    kind: WriteKind
    stored: int | None
    """The position the store holds now; None where it holds none."""

    @property
    def done(self) -> bool:
        """Whether the store holds the states of this write."""
        return self.kind in (WriteKind.APPLIED, WriteKind.REPEATED)


def judge(stored: int | None, write: PartitionWrite) -> WriteKind:
    """Decide what happens to a write on a store that holds position `stored`.

    This is the reference for every backend.

    >>> write = PartitionWrite(partition=0, expected=10, position=20, states={})
    >>> [judge(stored, write).value for stored in (10, 20, 15, 5, None)]
    ['applied', 'repeated', 'fenced', 'behind', 'behind']
    """
    if stored == write.expected:
        return WriteKind.APPLIED
    if stored == write.position:
        return WriteKind.REPEATED
    if stored is None or (write.expected is not None and stored < write.expected):
        return WriteKind.BEHIND
    return WriteKind.FENCED


def moved_from(
    known: Mapping[int, int | None], found: Mapping[int, int | None]
) -> list[WriteOutcome]:
    """Return an outcome for each partition whose position is not the one that was known.

    >>> moved_from({0: 7, 1: 9, 2: 5}, {0: 7, 1: 12, 2: None})[0].kind.value
    'fenced'
    """
    outcomes = []
    for partition, position in found.items():
        if position != known[partition]:
            is_behind = has_lost_writes({partition: position}, known)
            kind = WriteKind.BEHIND if is_behind else WriteKind.FENCED
            outcomes.append(WriteOutcome(partition, kind, position))
    return outcomes


def has_lost_writes(found: Mapping[int, int | None], known: Mapping[int, int | None]) -> bool:
    """Whether a store holds a position that lies before the one that is known of it.

    >>> has_lost_writes({0: 7}, {0: 9}), has_lost_writes({0: 9}, {0: 9})
    (True, False)
    """
    for partition, position in found.items():
        at = known[partition]
        if at is not None and (position is None or position < at):
            return True
    return False


class Snapshot(msgspec.Struct, frozen=True):
    """States, and the positions that they are of.

    Args:
        positions: each partition's position; None where there is none.
        states: each partition's states, in the order asked; None for an unknown account.
    """

    positions: Mapping[int, int | None]
    states: Mapping[int, list[bytes | None]]


class Store(Protocol):
    """States and positions, written together.

    Every method raises `StoreUnavailable` where the store cannot be reached or refuses for now, and
    `StreamError` where it would refuse again. A call that failed may have been applied; sending it
    again is safe.
    """

    async def positions(self, partitions: Iterable[int]) -> dict[int, int | None]:
        """Return the stored position of each partition; None where there is none."""
        ...

    def forget(self, partitions: Iterable[int]) -> None:
        """Know nothing of partitions but what is stored: they have just been taken."""
        ...

    async def read(self, wanted: Mapping[int, Sequence[str]], *, fresh: bool = False) -> Snapshot:
        """Return the states of the wanted accounts, and the positions of their partitions.

        Args:
            wanted: for each partition, accounts.
            fresh: whether something else was read of the store just now, so that the positions
                must be those that it holds, and not those that are known of it.

        All are read in one round trip from one server, so that a store which was restarted
        with older states shows it by its positions.
        """
        ...

    async def write(self, writes: Sequence[PartitionWrite]) -> list[WriteOutcome]:
        """Apply each write atomically and answer in the same order, as a rule in one round trip.

        A write that is refused does not stop the others. Writes are atomic by partition, not
        across partitions.
        """
        ...

    async def load(self, partition: int, states: Mapping[str, bytes]) -> None:
        """Put states where no worker reads yet. Positions are written afterwards."""
        ...

    def states(self, partition: int) -> AsyncIterator[tuple[str, bytes]]:
        """Yield each account of a partition with its state, in no order.

        For tools and tests: it does not see one moment in time while a worker writes.
        """
        ...

    async def ping(self) -> None:
        """Return if the store answers."""
        ...

    async def close(self) -> None:
        """Give back connections. Closing twice is fine."""
        ...
