"""The records that are processed together, and the records that come of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from functools import cached_property
from typing import Generic, Protocol, Self, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.columns import Reject
from engine.records import Record, dead_letter
from streams.clocks import NO_LIMIT
from streams.consumed import Consumed, runs


class Content(Protocol):
    """What records say, decoded: events or labels, and rejects."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """The places of the records that could be read; int64 ``[m]``."""
        ...

    @property
    def time_ms(self) -> NDArray[np.int64]:
        """The event time of each; int64 ``[m]``."""
        ...

    def part(self, keep: NDArray[np.bool_]) -> Self:
        """Return what some of the records say."""
        ...

    @classmethod
    def joined(cls, parts: Sequence[Self], sizes: Sequence[int]) -> Self:
        """Return what the records of several batches say."""
        ...


ContentT = TypeVar("ContentT", bound=Content)


class Batch(msgspec.Struct, Generic[ContentT], frozen=True, dict=True):
    """Records, partition after partition, and what they say.

    Args:
        records: ``n`` of them.
        epochs: of each partition, when they were polled.
        received_ms: when they came, in ms since 1970.
        content: what they say.
    """

    records: Consumed
    epochs: dict[int, int]
    received_ms: int
    content: ContentT

    def __len__(self) -> int:
        return len(self.records)

    @property
    def partitions(self) -> NDArray[np.int64]:
        """The partition of each record; int64 ``[n]``."""
        return self.records.partitions

    @property
    def offsets(self) -> NDArray[np.int64]:
        """The offset of each record; int64 ``[n]``."""
        return self.records.offsets

    @cached_property
    def _runs(self) -> list[tuple[int, int, int]]:
        return runs(self.partitions)

    @cached_property
    def counts(self) -> dict[int, int]:
        """For each partition, how many records there are of it."""
        found: dict[int, int] = {}
        for each, start, stop in self._runs:
            found[each] = found.get(each, 0) + stop - start
        return found

    @cached_property
    def firsts(self) -> dict[int, int]:
        """For each partition, the offset of its first record."""
        return {each: int(self.offsets[start]) for each, start, _ in reversed(self._runs)}

    @cached_property
    def positions(self) -> dict[int, int]:
        """For each partition, the offset after its last record."""
        return {each: int(self.offsets[stop - 1]) + 1 for each, _, stop in self._runs}

    @cached_property
    def heads(self) -> dict[int, int]:
        """For each partition, the event time of its first record that could be read."""
        found = reversed(self._readable)
        return {each: int(self.content.time_ms[start]) for each, start, _ in found}

    @property
    def latest(self) -> dict[int, int]:
        """For each partition, the latest event time of its records that could be read."""
        found: dict[int, int] = {}
        for each, start, stop in self._readable:
            latest = int(self.content.time_ms[start:stop].max())
            found[each] = max(latest, found.get(each, latest))
        return found

    @cached_property
    def _readable(self) -> list[tuple[int, int, int]]:
        """The runs of the records that could be read."""
        return runs(self.partitions[self.content.rows])

    def is_before(self, limit_ms: int, blocked: Set[int] = frozenset()) -> bool:
        """Whether all records are before a time, and of no partition that is blocked."""
        if blocked & self.epochs.keys():
            return False
        return limit_ms >= NO_LIMIT or self.content.time_ms.max(initial=0) < limit_ms

    def cut(
        self, limit_ms: int, blocked: Set[int] = frozenset()
    ) -> tuple[Batch[ContentT], Batch[ContentT]]:
        """Return the records before each partition's first at or after a time, and the others.

        Args:
            limit_ms: the time, in ms since 1970.
            blocked: partitions whose records are all among the others.
        """
        if not len(self):
            return self, self
        late = self.content.rows[self.content.time_ms >= limit_ms]
        partitions = self.partitions
        first = np.full(int(partitions.max()) + 1, len(self))
        np.minimum.at(first, partitions[late], late)
        first[[each for each in blocked if each < len(first)]] = -1
        before = np.arange(len(self)) < first[partitions]
        if not before.any():
            return self.part(before), self
        return self.part(before), self.part(~before)

    def without(self, is_left: Callable[[int, int], bool]) -> Batch[ContentT]:
        """Return the records of the partitions that are not left alone.

        Args:
            is_left: whether to leave a partition alone, by its number and epoch.
        """
        left = {partition for partition, epoch in self.epochs.items() if is_left(partition, epoch)}
        if not left:
            return self
        return self.part(~np.isin(self.partitions, list(left)))

    def part(self, keep: NDArray[np.bool_]) -> Batch[ContentT]:
        """Return some of the records; bool ``[n]``."""
        records = self.records.part(keep)
        partitions = {each for each, _, _ in runs(records.partitions)}
        return Batch(
            records,
            {each: epoch for each, epoch in self.epochs.items() if each in partitions},
            self.received_ms,
            self.content.part(keep),
        )

    @staticmethod
    def joined(parts: Sequence[Batch[ContentT]]) -> Batch[ContentT]:
        """Return the records of one or more batches as one."""
        if len(parts) == 1:
            return parts[0]
        contents = [each.content for each in parts]
        return Batch(
            Consumed.joined([each.records for each in parts]),
            {partition: epoch for each in parts for partition, epoch in each.epochs.items()},
            max(each.received_ms for each in parts),
            type(contents[0]).joined(contents, [len(each) for each in parts]),
        )


def grouped(
    partitions: NDArray[np.int64], outputs: Sequence[Record], wanted: NDArray[np.bool_]
) -> dict[int, list[Record]]:
    """Return the outputs of each partition, so that they go where their events came from.

    Args:
        partitions: the partition that each output comes of; int64 ``[m]``.
        outputs: ``m`` of them.
        wanted: which of them are wanted; bool ``[m]``.
    """
    if np.count_nonzero(wanted) < len(wanted):
        outputs = [outputs[place] for place in np.flatnonzero(wanted).tolist()]
        partitions = partitions[wanted]
    by_partition: dict[int, list[Record]] = {}
    for partition, start, stop in runs(partitions):
        by_partition.setdefault(partition, []).extend(outputs[start:stop])
    return by_partition


def dead_letters(records: Consumed, reject: Reject, part_bytes: int) -> list[Record]:
    """Return the dead letter of a reject, in as many records of ``part_bytes`` as it takes."""
    row = reject.row
    key, value = records.keys[row], records.values[row]
    return dead_letter(reject, key, value, records.origin(row), part_bytes)


def rekeyed(value: bytes | None, reject: Reject) -> Record:
    """Return a record with a wrong key as it is published again: under its account."""
    account = reject.account or ""
    return Record(account.encode(), value, (("rekeyed", b"1"),))
