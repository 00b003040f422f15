"""What one poll brings, as Faust's streams carry it, and what an application may say of polls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from aiokafka import ConsumerRecord
from faust.types import TP, ConsumerMessage


@dataclass(slots=True, eq=False)
class Poll:
    """The records that one poll brought of one topic.

    Args:
        topic: the topic.
        parts: the records of each partition, in the order of their offsets.
        epochs: for each partition, how often it had been sought before the poll. Records of an
            earlier epoch than the present one must be left alone: they will be read again.
        received_ms: when the poll returned, in milliseconds since 1970.
    """

    topic: str
    parts: Mapping[int, list[ConsumerRecord]]
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
    last = records[-1]
    return ConsumerMessage(
        poll.topic,
        partition,
        last.offset,
        last.timestamp / 1000,
        last.timestamp_type,
        None,
        None,
        cast(Any, poll),
        None,
        serialized_key_size=0,
        serialized_value_size=len(poll),
        tp=TP(poll.topic, partition),
        generation_id=generation_id,
    )
