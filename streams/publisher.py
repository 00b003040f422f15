"""Publishing many records at once: record batches built here and sent whole.

aiokafka spends about ten times as long on a record that is sent by itself.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder

from engine.errors import BrokerUnavailable
from engine.records import Record
from streams.settings import Broker


class Publisher:
    """Publishes records and waits until the brokers have them.

    Args:
        producer: a started producer.
        broker: for the words of an error.
        partitions: the partitions of each topic.
    """

    def __init__(
        self, producer: AIOKafkaProducer, broker: Broker, partitions: Mapping[str, int]
    ) -> None:
        self._producer = producer
        self._broker = broker
        self._partitions = partitions

    async def publish(
        self, topics: Mapping[str, Sequence[tuple[int | None, Iterable[Record]]]]
    ) -> None:
        """Publish records and return once every one is acknowledged.

        Args:
            topics: for each topic, pairs of a partition and its records. A partition beyond the
                topic's own number is taken modulo that; None puts each record where Kafka's
                default partitioner puts its key.

        Raises:
            BrokerUnavailable: a record was not acknowledged in time or was refused.
        """
        try:
            sent = []
            for topic, parts in topics.items():
                for partition, records in self._by_partition(topic, parts).items():
                    sent += await self._send(topic, partition, records)
            await asyncio.gather(*sent)
        except (KafkaError, OSError) as error:
            raise self._unavailable(error) from None

    async def ping(self) -> None:
        """Return if a broker answers. Raises :class:`BrokerUnavailable`."""
        try:
            await self._producer.client.fetch_all_metadata()
        except (KafkaError, OSError) as error:
            raise self._unavailable(error) from None

    def _unavailable(self, error: BaseException) -> BrokerUnavailable:
        return BrokerUnavailable(
            f"Kafka must answer at broker.bootstrap = {self._broker.bootstrap}, however: "
            f"{type(error).__name__}: {error}"
        )

    def _by_partition(
        self, topic: str, parts: Sequence[tuple[int | None, Iterable[Record]]]
    ) -> Mapping[int, list[Record]]:
        n = self._partitions[topic]
        by_partition: dict[int, list[Record]] = defaultdict(list)
        for partition, records in parts:
            if partition is not None:
                by_partition[partition % n] += records
                continue
            for record in records:
                by_partition[partition_of(record.key or b"", n)].append(record)
        return by_partition

    async def _send(
        self, topic: str, partition: int, records: Sequence[Record]
    ) -> list[asyncio.Future[object]]:
        sent = []
        batch: BatchBuilder = self._producer.create_batch()
        for record in records:
            if not _append(batch, record):
                sent.append(await self._producer.send_batch(batch, topic, partition=partition))
                batch = self._producer.create_batch()
                _append(batch, record)
        if batch.record_count():
            sent.append(await self._producer.send_batch(batch, topic, partition=partition))
        return sent


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key as every Kafka client's default partitioner has it."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


def _append(batch: BatchBuilder, record: Record) -> bool:
    added = batch.append(
        key=record.key, value=record.value, timestamp=None, headers=list(record.headers)
    )
    return added is not None
