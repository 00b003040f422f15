"""Following a topic of scores or alerts as it grows, outside of any consumer group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from engine.errors import BrokerUnavailable
from streams.kafka import client_options, start_client
from streams.log import get_logger
from streams.ordering import Backlog
from streams.settings import Broker, Settings

logger = get_logger(__name__)

_POLL_MS = 200
_ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of a feed.

    Args:
        topic, partition, offset: where it stands.
        published_ms: when it was published, in ms since 1970.
        body: the decoded JSON.
    """

    topic: str
    partition: int
    offset: int
    published_ms: int
    body: dict[str, Any]


class Feed:
    """An open feed."""

    def __init__(
        self, consumer: AIOKafkaConsumer, settings: Settings, since_ms: int, backlog: Backlog
    ) -> None:
        self._consumer = consumer
        self._broker = settings.broker
        self._since_ms = since_ms
        self._backlog = backlog

    async def poll(self) -> list[Entry]:
        """Return the records that came within a moment, perhaps none, in order of publication.

        While Kafka is away none come; :meth:`check` tells.

        Raises:
            BrokerUnavailable: Kafka refuses.
        """
        with _answering(self._broker):
            batches = await self._consumer.getmany(timeout_ms=_POLL_MS)
            behind = self._backlog.behind
            positions = {each: await self._consumer.position(each) for each in behind}
        records = chain.from_iterable(batches.values())
        ready = self._backlog.add(records, positions)
        entries = [_entry(record) for record in ready if self._is_wanted(record)]
        return [entry for entry in entries if entry is not None]

    async def check(self) -> None:
        """Ask Kafka for something. Raises :class:`BrokerUnavailable` where it does not answer."""
        with _answering(self._broker):
            async with asyncio.timeout(_ANSWER_S):
                await self._consumer.topics()

    async def at_end(self) -> bool:
        """Whether everything that was published by now has been returned.

        Raises:
            BrokerUnavailable: Kafka does not answer.
        """
        # The question for the ends waits long for a broker that is away.
        await self.check()
        with _answering(self._broker):
            partitions = list(self._consumer.assignment())
            ends = await self._consumer.end_offsets(partitions)
            positions = [await self._consumer.position(each) for each in partitions]
        return all(at >= ends[each] for each, at in zip(partitions, positions, strict=True))

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
        with _answering(settings.broker):
            backlog = await _seek(consumer, topics, since_ms)
        yield Feed(consumer, settings, since_ms or 0, backlog)
    finally:
        await _stop(consumer)


async def _stop(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer. Where Kafka is away, aiokafka lets a cancellation of its own out of stop."""
    await asyncio.gather(consumer.stop(), return_exceptions=True)
    await consumer._client.close()


async def _seek(consumer: AIOKafkaConsumer, topics: Sequence[str], since_ms: int | None) -> Backlog:
    """Go to where a feed begins, and return what is to be read of the past."""
    partitions = [
        TopicPartition(topic, partition)
        for topic in topics
        for partition in sorted(await _partitions_of(consumer, topic))
    ]
    consumer.assign(partitions)
    if since_ms is None:
        await consumer.seek_to_end(*partitions)
        return Backlog({})
    await consumer.seek_to_beginning(*partitions)
    return Backlog(await consumer.end_offsets(partitions))


@contextmanager
def _answering(broker: Broker) -> Iterator[None]:
    try:
        yield
    except (KafkaError, OSError) as error:
        found = str(error) or f"no answer within {_ANSWER_S:g} s"
        raise BrokerUnavailable(
            f"Kafka must answer at broker.bootstrap = {broker.bootstrap}, however: {found}; start "
            "it, or set broker.bootstrap (RISKSTREAM_BROKER__BOOTSTRAP)"
        ) from None


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
        return Entry(record.topic, record.partition, record.offset, record.timestamp, body)
    logger.warning(
        "%s must hold JSON objects, however: offset %d of partition %d is none; passed over",
        record.topic,
        record.offset,
        record.partition,
    )
    return None
