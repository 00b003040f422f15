"""Putting what stands in several partitions into the order in which it was published."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from math import inf

from aiokafka import ConsumerRecord, TopicPartition


class Backlog:
    """Holds records back until no earlier one can come.

    Kafka keeps the order within a partition only. While there is a backlog, a record is ready once
    every partition of the backlog has come as far in time; later, at once.

    Args:
        ends: where each partition of the backlog ends: the offset after its last record.
    """

    def __init__(self, ends: Mapping[TopicPartition, int]) -> None:
        self._ends = dict(ends)
        self._reached_ms: dict[TopicPartition, float] = dict.fromkeys(ends, -inf)
        self._held: list[ConsumerRecord] = []

    @property
    def behind(self) -> list[TopicPartition]:
        """The partitions whose backlog has not been read to its end."""
        return list(self._ends)

    def add(
        self, records: Iterable[ConsumerRecord], positions: Mapping[TopicPartition, int]
    ) -> list[ConsumerRecord]:
        """Take in records, and return those that are ready, in the order of publication.

        Args:
            records: what was read now.
            positions: of the partitions behind: the offset of what is read next.
        """
        for record in records:
            self._held.append(record)
            partition = TopicPartition(record.topic, record.partition)
            if partition in self._ends:
                self._reached_ms[partition] = record.timestamp
        for partition, position in positions.items():
            if position >= self._ends[partition]:
                del self._ends[partition]
        self._held.sort(key=_published_ms)
        until_ms = min((self._reached_ms[each] for each in self._ends), default=inf)
        at = bisect_right(self._held, until_ms, key=_published_ms)
        ready, self._held = self._held[:at], self._held[at:]
        return ready


def _published_ms(record: ConsumerRecord) -> int:
    return int(record.timestamp)
