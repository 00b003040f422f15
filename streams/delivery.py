"""Records on their way to Kafka, kept until each is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    KafkaUnavailableError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RecordTooLargeError,
)

from engine.errors import BrokerUnavailable, StreamError
from engine.records import Record
from streams.chunks import Chunk, Failure, batches
from streams.express import send_at_once
from streams.settings import Broker

#: Returns a smaller record in a record's place; None where there is none.
Shrink = Callable[[Record], Record | None]

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError, RecordTooLargeError)


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
        self._judge(await deliver(self._producer, waiting))

    def _judge(self, failures: Sequence[Failure]) -> None:
        """Keep what failed to be sent again, and raise why."""
        away: BaseException | None = None
        for chunk, error in failures:
            if is_too_large(error):
                self._pending += smaller(chunk, error, self._shrink)
                continue
            if not is_passing(error):
                raise refusal(chunk, error) from None
            self._pending.append(chunk)
            away = away or error
        if away is not None:
            raise unavailable(self._broker, away) from None


async def deliver(producer: AIOKafkaProducer, chunks: Iterable[Chunk]) -> list[Failure]:
    """Send chunks, wait for the answers, and return what was not acknowledged, and why."""
    sent: list[tuple[Chunk, asyncio.Future[object]]] = []
    failures: list[Failure] = []
    if producer._txn_manager is None:
        chunks, failures = await send_at_once(producer, chunks)
    for chunk in chunks:
        try:
            sent += await _hand_over(producer, chunk)
        except (KafkaError, OSError) as error:
            failures.append((chunk, error))
    answers = await asyncio.gather(*(future for _, future in sent), return_exceptions=True)
    for (chunk, _), answer in zip(sent, answers, strict=True):
        if isinstance(answer, BaseException):
            failures.append((chunk, answer))
    return failures


def smaller(chunk: Chunk, error: BaseException, shrink: Mapping[str, Shrink]) -> list[Chunk]:
    """Return a chunk that was too large as two, or its one record made smaller.

    Raises:
        StreamError: it cannot be made smaller.
    """
    half = len(chunk.records) // 2
    if half:
        parts = chunk.records[:half], chunk.records[half:]
        return [Chunk(chunk.topic, chunk.partition, part) for part in parts]
    shrinks = shrink.get(chunk.topic)
    less = shrinks(chunk.records[0]) if shrinks else None
    if less is None:
        raise refusal(chunk, error)
    return [Chunk(chunk.topic, chunk.partition, [less])]


def replaced(chunks: Sequence[Chunk], part: Chunk, instead: Sequence[Chunk]) -> list[Chunk]:
    """Return chunks with others in the place of a part of one of them, in the same order."""
    found: list[Chunk] = []
    for chunk in chunks:
        first = part.records[0]
        at = next((at for at, record in enumerate(chunk.records) if record is first), None)
        if at is None:
            found.append(chunk)
            continue
        before, after = chunk.records[:at], chunk.records[at + len(part.records) :]
        around = [Chunk(chunk.topic, chunk.partition, rest) for rest in (before, after)]
        found += [each for each in (around[0], *instead, around[1]) if each.records]
    return found


def refusal(chunk: Chunk, error: BaseException) -> StreamError:
    """Return the error of records that a broker refuses for good."""
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


def is_too_large(error: BaseException) -> bool:
    """Whether records were refused for their size."""
    return isinstance(error, _TOO_LARGE)


def is_passing(error: BaseException) -> bool:
    """Whether trying again may help."""
    if isinstance(error, OSError | KafkaTimeoutError | KafkaUnavailableError):
        return True
    return isinstance(error, KafkaError) and error.retriable


async def _hand_over(
    producer: AIOKafkaProducer, chunk: Chunk
) -> list[tuple[Chunk, asyncio.Future[object]]]:
    """Give a chunk to the producer, in as many parts as its batches need."""
    sent = []
    for batch, part in batches(producer, chunk):
        future = await producer.send_batch(batch, chunk.topic, partition=chunk.partition)
        sent.append((part, future))
    return sent
