"""Records for Kafka, by the partition they go to, and as the record batches that carry them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from engine.records import Record


class Chunk(msgspec.Struct, frozen=True):
    """Records of one partition that are sent, and acknowledged, together."""

    topic: str
    partition: int
    records: list[Record]


#: What was not acknowledged, and why.
Failure = tuple[Chunk, BaseException]


def batches(producer: AIOKafkaProducer, chunk: Chunk) -> list[tuple[BatchBuilder, Chunk]]:
    """Return a chunk's record batches, as many as its records need, each with what it holds."""
    found: list[tuple[BatchBuilder, Chunk]] = []
    records, at = chunk.records, 0
    while at < len(records):
        batch = producer.create_batch()
        # The first record finds room whatever its size: the broker refuses it, with a reason.
        taken = _fill(batch, records, at)
        found.append((batch, Chunk(chunk.topic, chunk.partition, records[at : at + taken])))
        at += taken
    return found


def _fill(batch: BatchBuilder, records: Sequence[Record], start: int) -> int:
    """Append records from a place on, and return how many found room.

    The batch's own ``append`` spends twice as long on each as what it calls.
    """
    append: Callable[..., object] = batch._builder.append
    now_ms, n = time.time_ns() // 1_000_000, 0
    for record in islice(records, start, None):
        if append(n, now_ms, record.key, record.value, list(record.headers)) is None:
            break
        n += 1
    batch._relative_offset = n
    return n
