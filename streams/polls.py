"""What one poll brings, as Faust's streams carry it, and what an application may say of polls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from faust.types import TP, ConsumerMessage

from streams.consumed import Consumed

#: What a record's timestamp is, as Kafka numbers it. Nothing here asks for another.
_CREATE_TIME = 0


@dataclass(slots=True, eq=False)
class Poll:
    """The records that one poll brought of one topic.

    Args:
        topic: the topic.
        parts: the records of each partition.
        epochs: for each partition, how often it had been sought before the poll. Records of an
            earlier epoch than the present one must be left alone: they will be read again.
        received_ms: when the poll returned, in milliseconds since 1970.
    """

    topic: str
    parts: Mapping[int, Consumed]
    epochs: Mapping[int, int]
    received_ms: int

    def __len__(self) -> int:
        return sum(len(records) for records in self.parts.values())


class Positions(Protocol):
    """Where an application keeps the positions of its partitions, if not in Kafka."""

    async def __call__(self, partitions: Iterable[TP]) -> Mapping[TP, int]:
        """Return where each partition goes on."""


class Breaks(Protocol):
    """What an application does where a partition's records do not begin at the offset asked for."""

    async def __call__(self, partition: TP, expected: int, found: int) -> bool:
        """Return whether to take the records that begin at ``found``."""


def message_of(poll: Poll, generation_id: int) -> ConsumerMessage:
    """Return the one message of Faust's that carries a poll."""
    partition, records = next(iter(poll.parts.items()))
    return ConsumerMessage(
        poll.topic,
        partition,
        int(records.offsets[-1]),
        int(records.timestamps_ms[-1]) / 1000,
        _CREATE_TIME,
        None,
        None,
        cast(Any, poll),
        None,
        serialized_key_size=0,
        serialized_value_size=len(poll),
        tp=TP(poll.topic, partition),
        generation_id=generation_id,
    )
