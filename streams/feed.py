"""Following a topic of scores or alerts as it grows, outside of any consumer group."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from engine.errors import BrokerUnavailable
from streams.kafka import client_options, start_client
from streams.log import get_logger
from streams.settings import Settings

logger = get_logger(__name__)

_POLL_MS = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of a feed: the decoded JSON, and when it was published (ms since 1970)."""

    topic: str
    published_ms: int
    body: dict[str, Any]


class Feed:
    """An open feed."""

    def __init__(self, consumer: AIOKafkaConsumer, settings: Settings, since_ms: int) -> None:
        self._consumer = consumer
        self._broker = settings.broker
        self._since_ms = since_ms

    async def poll(self) -> list[Entry]:
        """Return the records that came within a moment, perhaps none.

        Raises:
            BrokerUnavailable: Kafka does not answer.
        """
        try:
            batches = await self._consumer.getmany(timeout_ms=_POLL_MS)
        except (KafkaError, OSError) as error:
            raise BrokerUnavailable(
                f"Kafka must answer at broker.bootstrap = {self._broker.bootstrap}, "
                f"however: {error}"
            ) from None
        records = [record for batch in batches.values() for record in batch]
        entries = [_entry(record) for record in records if self._is_wanted(record)]
        return [entry for entry in entries if entry is not None]

    async def at_end(self) -> bool:
        """Whether everything that was published by now has been returned."""
        partitions = list(self._consumer.assignment())
        ends = await self._consumer.end_offsets(partitions)
        for partition in partitions:
            if await self._consumer.position(partition) < ends[partition]:
                return False
        return True

    def _is_wanted(self, record: ConsumerRecord) -> bool:
        return bool(record.timestamp >= self._since_ms)


@asynccontextmanager
async def open_feed(
    settings: Settings, topics: Sequence[str], since_ms: int | None
) -> AsyncIterator[Feed]:
    """Open a feed.

    Args:
        settings: the configuration.
        topics: which topics; they must exist.
        since_ms: leave out what was published before this time, in ms since 1970; None for
            everything that is published from now on.

    Raises:
        BrokerUnavailable: Kafka does not answer.
    """
    consumer = AIOKafkaConsumer(
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=settings.broker.fetch_wait_ms,
        **client_options(settings.broker),
    )
    try:
        await start_client(consumer, settings.broker)
        partitions = [
            TopicPartition(topic, partition)
            for topic in topics
            for partition in sorted(await _partitions_of(consumer, topic))
        ]
        consumer.assign(partitions)
        if since_ms is None:
            await consumer.seek_to_end(*partitions)
        else:
            await consumer.seek_to_beginning(*partitions)
        yield Feed(consumer, settings, since_ms or 0)
    finally:
        await consumer.stop()


async def _partitions_of(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client._wait_on_metadata(topic)
    return consumer.partitions_for_topic(topic) or set()


def _entry(record: ConsumerRecord) -> Entry | None:
    """Return a record of a feed; None, with a line in the log, for one of some other origin."""
    try:
        body = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        body = None
    if isinstance(body, dict):
        return Entry(record.topic, record.timestamp, body)
    logger.warning(
        "%s must hold JSON objects, however: offset %d of partition %d is none; passed over",
        record.topic,
        record.offset,
        record.partition,
    )
    return None
