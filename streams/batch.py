"""The records that are processed together, and the records that come of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
from aiokafka import ConsumerRecord
from numpy.typing import NDArray

from engine.columns import Reject
from engine.records import Origin, Record, dead_letter


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


@dataclass(frozen=True)
class Batch(Generic[ContentT]):
    """Records, partition after partition, and what they say.

    Args:
        records: ``n`` of them.
        epochs: of each partition, when they were polled.
        received_ms: when they came, in ms since 1970.
        content: what they say.
    """

    records: list[ConsumerRecord]
    epochs: dict[int, int]
    received_ms: int
    content: ContentT

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def partitions(self) -> NDArray[np.int64]:
        """The partition of each record; int64 ``[n]``."""
        return self._each("partition")

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """The offset of each record; int64 ``[n]``."""
        return self._each("offset")

    @cached_property
    def published_ms(self) -> NDArray[np.int64]:
        """When each record was published, in ms since 1970; int64 ``[n]``."""
        return self._each("timestamp")

    @cached_property
    def firsts(self) -> dict[int, int]:
        """For each partition, the offset of its first record."""
        return {record.partition: record.offset for record in reversed(self.records)}

    @cached_property
    def positions(self) -> dict[int, int]:
        """For each partition, the offset after its last record."""
        return {record.partition: record.offset + 1 for record in self.records}

    @cached_property
    def heads(self) -> dict[int, int]:
        """For each partition, the event time of its first record that could be read."""
        return {each: int(self.content.time_ms[at]) for each, at in self._readable.items()}

    @property
    def latest(self) -> dict[int, int]:
        """For each partition, the latest event time of its records that could be read."""
        if len(self._readable) == 1:
            return {each: int(self.content.time_ms.max()) for each in self._readable}
        partitions = self.partitions[self.content.rows]
        found = np.zeros(max(self._readable, default=-1) + 1, dtype=np.int64)
        np.maximum.at(found, partitions, self.content.time_ms)
        return {each: int(found[each]) for each in self._readable}

    @cached_property
    def _readable(self) -> dict[int, int]:
        """For each partition, the place of its first record among those that could be read."""
        partitions = self.partitions[self.content.rows].tolist()
        return {each: at for at, each in reversed(list(enumerate(partitions)))}

    def is_before(self, limit_ms: int, blocked: Set[int] = frozenset()) -> bool:
        """Whether all records are before a time, and of no partition that is blocked."""
        late = self.content.time_ms.max(initial=0) >= limit_ms
        return not late and not blocked & self.epochs.keys()

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
        return self.part(np.array([each.partition not in left for each in self.records]))

    def part(self, keep: NDArray[np.bool_]) -> Batch[ContentT]:
        """Return some of the records; bool ``[n]``."""
        records = [self.records[row] for row in np.flatnonzero(keep).tolist()]
        partitions = {record.partition for record in records}
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
            [record for each in parts for record in each.records],
            {partition: epoch for each in parts for partition, epoch in each.epochs.items()},
            max(each.received_ms for each in parts),
            type(contents[0]).joined(contents, [len(each) for each in parts]),
        )

    def _each(self, name: str) -> NDArray[np.int64]:
        found = map(attrgetter(name), self.records)
        return np.fromiter(found, dtype=np.int64, count=len(self.records))


def grouped(
    records: Sequence[ConsumerRecord],
    rows: Sequence[int],
    outputs: Sequence[Record],
    wanted: NDArray[np.bool_],
) -> dict[int, list[Record]]:
    """Return the outputs of each partition, so that they go where their events came from.

    Args:
        records: ``n`` of a batch.
        rows: the place of each output's record.
        outputs: what comes of them.
        wanted: the records whose outputs are wanted; bool ``[n]``.
    """
    by_partition: dict[int, list[Record]] = {}
    for row, output in zip(rows, outputs, strict=True):
        if wanted[row]:
            by_partition.setdefault(records[row].partition, []).append(output)
    return by_partition


def dead_letters(record: ConsumerRecord, reject: Reject, part_bytes: int) -> list[Record]:
    """Return the dead letter of a reject, in as many records of ``part_bytes`` as it takes."""
    origin = Origin(record.topic, record.partition, record.offset, record.timestamp)
    return dead_letter(reject, record.key, record.value, origin, part_bytes)


def rekeyed(record: ConsumerRecord, reject: Reject) -> Record:
    """Return a record with a wrong key as it is published again: under its account."""
    account = reject.account or ""
    return Record(account.encode(), record.value, (("rekeyed", b"1"),))
