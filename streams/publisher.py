"""Publishing many records at once: record batches built here and sent whole.

aiokafka spends about ten times as long on a record that is sent by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from engine.records import Record
from streams.chunks import Chunk
from streams.delivery import Delivery, Shrink, unavailable
from streams.kafka import ensure_topics, new_producer, start_client
from streams.settings import Broker, Settings

#: For each topic, pairs of a partition and its records.
Outputs = Mapping[str, Sequence[tuple[int | None, Iterable[Record]]]]


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
        self.partitions = partitions

    async def publish(self, topics: Outputs) -> None:
        """Publish records and return once every one is acknowledged; see :meth:`delivery`.

        Raises:
            BrokerUnavailable: a record was not acknowledged in time.
            StreamError: a record was refused.
        """
        await self.delivery(topics).send()

    def delivery(self, topics: Outputs, shrink: Mapping[str, Shrink] | None = None) -> Delivery:
        """Return records as a delivery, which may be sent again until all are acknowledged.

        Args:
            topics: for each topic, pairs of a partition and its records. A partition beyond the
                topic's own number is taken modulo that; None puts each record where Kafka's
                default partitioner puts its key.
            shrink: for a topic, what to send in the place of a record that is too large for it.
        """
        return Delivery(self._producer, self._broker, self.chunks(topics), shrink or {})

    def chunks(self, topics: Outputs) -> list[Chunk]:
        """Return records by the partition they go to; see :meth:`delivery`."""
        return [
            Chunk(topic, partition, records)
            for topic, parts in topics.items()
            for partition, records in self._by_partition(topic, parts).items()
            if records
        ]

    async def ping(self) -> None:
        """Return if a broker answers. Raises :class:`BrokerUnavailable`."""
        try:
            await self._producer.client.fetch_all_metadata()
        except (KafkaError, OSError) as error:
            raise unavailable(self._broker, error) from None

    def _by_partition(
        self, topic: str, parts: Sequence[tuple[int | None, Iterable[Record]]]
    ) -> Mapping[int, list[Record]]:
        n = self.partitions[topic]
        by_partition: dict[int, list[Record]] = defaultdict(list)
        for partition, records in parts:
            if partition is not None:
                by_partition[partition % n] += records
                continue
            for record in records:
                by_partition[partition_of(record.key or b"", n)].append(record)
        return by_partition


@asynccontextmanager
async def open_publisher(settings: Settings) -> AsyncIterator[Publisher]:
    """Open a publisher for the topics of a configuration, which are created where missing.

    Raises:
        BrokerUnavailable: Kafka is not there.
    """
    partitions = await ensure_topics(settings)
    producer = new_producer(settings.broker)
    try:
        await start_client(producer, settings.broker)
        yield Publisher(producer, settings.broker, partitions)
    finally:
        await producer.stop()


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key as every Kafka client's default partitioner has it."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)
