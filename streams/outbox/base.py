"""What the way out promises to the engine.

What comes of a batch is kept by the partition it comes of (*source*), so that a partition's records
and its offset can be published together, in one transaction, whatever became of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from engine.records import Record
from streams.publisher import Outputs


class Results:
    """The records that come of a batch, by the partition they come of."""

    def __init__(self) -> None:
        self._by_source: dict[int, dict[str, list[tuple[int | None, Sequence[Record]]]]] = {}

    def add(self, topic: str, source: int, target: int | None, records: Sequence[Record]) -> None:
        """Take records for a topic.

        Args:
            topic: where they go.
            source: the partition of the input topic that they come of.
            target: the partition they go to; see :meth:`streams.publisher.Publisher.delivery`.
            records: in their order.
        """
        self._by_source.setdefault(source, {}).setdefault(topic, []).append((target, records))

    def of(self, source: int) -> Outputs:
        """Return what comes of one partition."""
        return self._by_source.get(source, {})

    def all(self) -> Outputs:
        """Return what comes of all partitions."""
        joined: dict[str, list[tuple[int | None, Iterable[Record]]]] = {}
        for topics in self._by_source.values():
            for topic, parts in topics.items():
                joined.setdefault(topic, []).extend(parts)
        return joined


class Outbox(Protocol):
    """Publishes what comes of batches.

    Attributes:
        tells_offsets: whether it tells Kafka the offsets too, with what it publishes.
    """

    tells_offsets: bool

    async def own(self, topic: str, partitions: Iterable[int]) -> None:
        """Take partitions of an input topic: whoever had them before publishes nothing more.

        Raises:
            Interrupted: it was given up while Kafka was away.
            StreamError: Kafka refuses, and would again.
        """
        ...

    def published(self, topic: str, partition: int) -> int:
        """Return the offset before which all that comes of a partition has been published.

        What comes of these records must not be published again.
        """
        ...

    async def publish(self, topic: str, positions: Mapping[int, int], results: Results) -> set[int]:
        """Publish what comes of a batch, and return once Kafka has it for good.

        Args:
            topic: the input topic.
            positions: for each of its partitions, the offset after the batch's last record.
            results: what comes of the batch.

        Returns:
            The partitions that another worker has taken: nothing of theirs was published.

        Raises:
            Interrupted: it was given up while Kafka was away.
            StreamError: Kafka refuses a record, and would again.
        """
        ...

    def leave(self) -> None:
        """Take no partition any more; what was begun is given up."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...
