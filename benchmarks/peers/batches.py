"""Taking and publishing whole batches with aiokafka, for the two peers that do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from benchmarks.peers.common import Options

#: A partition, a key and a value.
Output = tuple[int, bytes, bytes]


@asynccontextmanager
async def clients(options: Options) -> AsyncIterator[tuple[AIOKafkaConsumer, AIOKafkaProducer]]:
    """Open a consumer that commits by hand, and a producer that waits for all replicas."""
    consumer = AIOKafkaConsumer(
        options.source,
        bootstrap_servers=options.bootstrap,
        group_id=options.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_poll_records=options.batch,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=options.bootstrap, acks="all", max_batch_size=500_000
    )
    async with consumer, producer:
        yield consumer, producer


async def take(consumer: AIOKafkaConsumer) -> Sequence[ConsumerRecord]:
    """Return the records of the next poll, partition after partition."""
    polled = await consumer.getmany(timeout_ms=1000)
    return [record for part in polled.values() for record in part]


async def publish(producer: AIOKafkaProducer, topic: str, outputs: Iterable[Output]) -> None:
    """Publish records as whole batches, and return once all are acknowledged."""
    by_partition: dict[int, list[tuple[bytes, bytes]]] = {}
    for partition, key, value in outputs:
        by_partition.setdefault(partition, []).append((key, value))
    sent = []
    for partition, records in by_partition.items():
        batch = producer.create_batch()
        for key, value in records:
            if batch.append(key=key, value=value, timestamp=None) is None:
                sent.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
        sent.append(await producer.send_batch(batch, topic, partition=partition))
    await asyncio.gather(*sent)
