"""Records on their way to Kafka, kept until each is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    KafkaUnavailableError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RecordTooLargeError,
)
from aiokafka.producer.message_accumulator import BatchBuilder

from engine.errors import BrokerUnavailable, StreamError
from engine.records import Record
from streams.settings import Broker

#: Returns a smaller record in a record's place; None where there is none.
Shrink = Callable[[Record], Record | None]

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError, RecordTooLargeError)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one partition that are sent, and acknowledged, together."""

    topic: str
    partition: int
    records: list[Record]


class Delivery:
    """Records to publish. What is acknowledged is not sent again.

    Args:
        producer: a started producer.
        broker: for the words of an error.
        chunks: the records, for each partition in their order.
        shrink: for a topic, what to send in the place of a record that is too large for it.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        broker: Broker,
        chunks: Iterable[Chunk],
        shrink: Mapping[str, Shrink],
    ) -> None:
        self._producer = producer
        self._broker = broker
        self._pending = [chunk for chunk in chunks if chunk.records]
        self._shrink = shrink

    async def send(self) -> None:
        """Send what is not acknowledged yet, and return once everything is.

        Raises:
            BrokerUnavailable: a broker did not acknowledge in time; send again.
            StreamError: a broker refuses a record, and would again.
        """
        while self._pending:
            await self._send_once()

    async def _send_once(self) -> None:
        waiting, self._pending = self._pending, []
        sent: list[tuple[Chunk, asyncio.Future[object]]] = []
        failures: list[tuple[Chunk, BaseException]] = []
        for chunk in waiting:
            try:
                sent += await self._hand_over(chunk)
            except (KafkaError, OSError) as error:
                failures.append((chunk, error))
        answers = await asyncio.gather(*(future for _, future in sent), return_exceptions=True)
        for (chunk, _), answer in zip(sent, answers, strict=True):
            if isinstance(answer, BaseException):
                failures.append((chunk, answer))
        self._judge(failures)

    def _judge(self, failures: list[tuple[Chunk, BaseException]]) -> None:
        """Keep what failed to be sent again, and raise why."""
        away: BaseException | None = None
        for chunk, error in failures:
            if isinstance(error, _TOO_LARGE):
                self._pending += self._smaller(chunk, error)
                continue
            if not _is_passing(error):
                raise self._refusal(chunk, error) from None
            self._pending.append(chunk)
            away = away or error
        if away is not None:
            raise unavailable(self._broker, away) from None

    async def _hand_over(self, chunk: Chunk) -> list[tuple[Chunk, asyncio.Future[object]]]:
        """Give a chunk to the producer, in as many parts as its batches need."""
        sent = []
        for batch, part in self._batches(chunk):
            future = await self._producer.send_batch(batch, chunk.topic, partition=chunk.partition)
            sent.append((part, future))
        return sent

    def _batches(self, chunk: Chunk) -> list[tuple[BatchBuilder, Chunk]]:
        batches: list[tuple[BatchBuilder, Chunk]] = []
        for record in chunk.records:
            if not batches or not _append(batches[-1][0], record):
                part = Chunk(chunk.topic, chunk.partition, [])
                batches.append((self._producer.create_batch(), part))
                _append(batches[-1][0], record)
            batches[-1][1].records.append(record)
        return batches

    def _smaller(self, chunk: Chunk, error: BaseException) -> list[Chunk]:
        """Return a chunk that was too large as two, or its one record made smaller."""
        half = len(chunk.records) // 2
        if half:
            parts = chunk.records[:half], chunk.records[half:]
            return [Chunk(chunk.topic, chunk.partition, part) for part in parts]
        shrink = self._shrink.get(chunk.topic)
        smaller = shrink(chunk.records[0]) if shrink else None
        if smaller is None:
            raise self._refusal(chunk, error)
        return [Chunk(chunk.topic, chunk.partition, [smaller])]

    def _refusal(self, chunk: Chunk, error: BaseException) -> StreamError:
        largest = max(len(record.value or b"") for record in chunk.records)
        return StreamError(
            f"Kafka must take the records of {chunk.topic}, however: partition {chunk.partition} "
            f"refuses them for good: {type(error).__name__} (the largest value has {largest} "
            "bytes); check the topic's max.message.bytes and the access rights"
        )


def unavailable(broker: Broker, error: BaseException) -> BrokerUnavailable:
    """Return the error of a broker that is away."""
    return BrokerUnavailable(
        f"Kafka must answer at broker.bootstrap = {broker.bootstrap}, however: "
        f"{type(error).__name__}: {error}"
    )


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, OSError | KafkaTimeoutError | KafkaUnavailableError):
        return True
    return isinstance(error, KafkaError) and error.retriable


def _append(batch: BatchBuilder, record: Record) -> bool:
    added = batch.append(
        key=record.key, value=record.value, timestamp=None, headers=list(record.headers)
    )
    return added is not None
