"""Record batches on their way at once.

aiokafka's producer hands a batch to a task of its own, which finds the partition's leader and has
another task send it: some turns of the loop, in which other events are scored before a byte is on
its way. Here the request is written before control is given up. Whatever is not plain (no leader
known, an error that may pass) is left to the producer, which waits for leaders and tries again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    NoError,
    RequestTimedOutError,
    for_code,
)
from aiokafka.producer.message_accumulator import BatchBuilder

from streams.chunks import Chunk, Failure, batches
from streams.protocol import Produce, send

#: A partition's batches, in their order.
_Queue = deque[tuple[BatchBuilder, Chunk]]


async def send_at_once(
    producer: AIOKafkaProducer, chunks: Iterable[Chunk]
) -> tuple[list[Chunk], list[Failure]]:
    """Send what can be sent at once, and wait until it is acknowledged.

    A partition's batches follow each other, each once the one before is acknowledged or refused.

    Args:
        producer: a started producer without transactions.
        chunks: the records, for each partition in their order.

    Returns:
        What is left to the producer, and what it need not try, each with the reason: what was
        refused for good, and what a broker did not answer within the request's time.
    """
    queues: defaultdict[TopicPartition, _Queue] = defaultdict(deque)
    for chunk in chunks:
        queues[TopicPartition(chunk.topic, chunk.partition)] += batches(producer, chunk)
    left: list[Chunk] = []
    failures: list[Failure] = []
    while queues:
        answers = await _ask(producer, {tp: queue[0][0] for tp, queue in queues.items()})
        for tp, answer in answers.items():
            queue = queues[tp]
            if answer is not None and answer.retriable:
                rest = _joined(tp, queues.pop(tp))
                if isinstance(answer, RequestTimedOutError):
                    failures.append((rest, answer))
                else:
                    left.append(rest)
                continue
            _, part = queue.popleft()
            if answer is not None:
                failures.append((part, answer))
            if not queue:
                del queues[tp]
    return left, failures


async def _ask(
    producer: AIOKafkaProducer, heads: Mapping[TopicPartition, BatchBuilder]
) -> dict[TopicPartition, KafkaError | None]:
    """Send one batch to each partition; return what came of it: None where it is acknowledged."""
    cluster = producer.client.cluster
    by_leader: defaultdict[int, list[TopicPartition]] = defaultdict(list)
    found: dict[TopicPartition, KafkaError | None] = {}
    for tp in heads:
        leader = cluster.leader_for_partition(tp)
        if leader is None or leader < 0:
            found[tp] = LeaderNotAvailableError()
        else:
            by_leader[leader].append(tp)
    asking = [
        _ask_leader(producer, leader, {tp: heads[tp] for tp in mine})
        for leader, mine in by_leader.items()
    ]
    # Of one leader no task is made: a task's first step waits for a turn of the loop.
    answers = [await asking[0]] if len(asking) == 1 else await asyncio.gather(*asking)
    for each in answers:
        found |= each
    return found


async def _ask_leader(
    producer: AIOKafkaProducer, leader: int, heads: Mapping[TopicPartition, BatchBuilder]
) -> dict[TopicPartition, KafkaError | None]:
    request = Produce(
        {tp: batch._build() for tp, batch in heads.items()}, producer._request_timeout_ms
    )
    try:
        answer: Mapping[TopicPartition, int] = await send(producer.client, leader, request)
    except KafkaError as error:
        return dict.fromkeys(heads, error)
    found: dict[TopicPartition, KafkaError | None] = {}
    for tp in heads:
        kind = for_code(answer[tp]) if tp in answer else LeaderNotAvailableError
        found[tp] = None if kind is NoError else kind()
    return found


def _joined(tp: TopicPartition, queue: _Queue) -> Chunk:
    """Return as one what follows each other: so its order stays, whatever becomes of it."""
    return Chunk(tp.topic, tp.partition, [each for _, part in queue for each in part.records])
