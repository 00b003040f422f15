"""The transactions of one input partition: its results and its offset, together or not at all.

Each partition has a transactional id of its own. Whoever takes the partition opens a producer of
that id, and from then on Kafka refuses every earlier one, in the middle of a transaction too: what
a worker had begun that was paused and has lost its partition is aborted. So the offset that is read
after that says for good what has been published.

A transaction whose outcome is in doubt (a connection broke, a coordinator did not answer) is
settled the same way: a new producer is opened, and the offset says whether it was committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InvalidProducerEpoch,
    KafkaError,
    ProducerFenced,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from engine.errors import RiskstreamError, StreamError, Unavailable
from streams.chunks import Chunk, Failure
from streams.delivery import Shrink, deliver, is_too_large, replaced, smaller
from streams.kafka import TRANSACTION_TIMEOUT_S

_BACKOFF_S, _MOST_BACKOFF_S = 0.05, 1.0

#: How long a producer that is given up may take to close.
_CLOSE_S = 1.0

_FOR_GOOD = (
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)


class Taken(RiskstreamError):
    """Another worker has taken the partition."""


class Outlet:
    """See the module's docstring.

    Args:
        partition: the input partition.
        group: the consumer group whose offset is committed.
        note: what is written beside the offset.
        new_producer: returns a producer of this partition's transactional id.
        read_offset: reads the group's offset of the partition; 0 where there is none.
        shrink: for a topic, what to send in the place of a record that is too large for it.

    Attributes:
        published: the offset before which all results have been published.
        is_taken: whether another worker has taken the partition. It is left alone from then on:
            a producer opened here would be the one that Kafka obeys.
        trouble: why the transaction at hand is not done yet; None where nothing went wrong.
    """

    def __init__(
        self,
        partition: TopicPartition,
        group: str,
        note: str,
        new_producer: Callable[[], AIOKafkaProducer],
        read_offset: Callable[[], Awaitable[int]],
        shrink: Mapping[str, Shrink],
    ) -> None:
        self._partition = partition
        self._group = group
        self._note = note
        self._new_producer = new_producer
        self._read_offset = read_offset
        self._shrink = shrink
        self._producer: AIOKafkaProducer | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.published = 0
        self.is_taken = False
        self.trouble: BaseException | None = None

    async def fence(self, timeout_s: float) -> None:
        """Refuse earlier producers of this partition. What was published is to be read after it.

        Raises:
            KafkaError, OSError, TimeoutError: Kafka does not answer.
            StreamError: Kafka refuses the transactional id.
        """
        self.give_up()
        producer = self._new_producer()
        try:
            async with asyncio.timeout(timeout_s):
                await producer.start()
        except BaseException as error:
            self._close(producer)
            if isinstance(error, _FOR_GOOD):
                raise self._refused(error) from None
            raise
        self._producer = producer

    async def publish(self, chunks: Sequence[Chunk], position: int, timeout_s: float) -> None:
        """Publish results and the offset after the records they come of, once and for all.

        Args:
            chunks: the results.
            position: the offset.
            timeout_s: how long opening a producer may take.

        Raises:
            Taken: another worker has taken the partition; nothing was published.
            StreamError: Kafka refuses a record, and would again.
        """
        pending, expected, backoff_s = list(chunks), self.published, _BACKOFF_S
        while self.published < position:
            try:
                if self.is_taken:
                    raise Taken(f"{self._partition} is another worker's")
                if self._producer is None:
                    await self._settle(expected, position, timeout_s)
                    continue
                failures = await self._transact(self._producer, pending, position)
                if failures:
                    self.give_up()
                    pending = self._improved(pending, failures)
                else:
                    self.published = position
            except (ProducerFenced, InvalidProducerEpoch, Taken):
                self.give_up()
                self.is_taken = True
                raise Taken(f"{self._partition} is another worker's") from None
            except _FOR_GOOD as error:
                self.give_up()
                raise self._refused(error) from None
            except (KafkaError, OSError, TimeoutError, Unavailable, AssertionError) as error:
                # An assertion: the client's own, of a transaction that is broken already.
                self.give_up()
                self.trouble = error
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, _MOST_BACKOFF_S)
            except BaseException:
                self.give_up()
                raise
        self.trouble = None

    def give_up(self) -> None:
        """Drop the producer. Kafka aborts what it had begun, once the next one is opened."""
        if self._producer is not None:
            self._close(self._producer)
            self._producer = None

    async def closed(self) -> None:
        """Return once the producers that were given up are closed."""
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _settle(self, expected: int, position: int, timeout_s: float) -> None:
        """Find out what became of a transaction that is in doubt."""
        await self.fence(timeout_s)
        self.published = await self._read_offset()
        if self.published not in (expected, position):
            raise Taken(f"{self._partition} is another worker's, published to {self.published}")

    async def _transact(
        self, producer: AIOKafkaProducer, chunks: Sequence[Chunk], position: int
    ) -> list[Failure]:
        """Publish in one transaction; commit it unless records failed, which are returned."""
        offset = {self._partition: OffsetAndMetadata(position, self._note)}
        async with asyncio.timeout(TRANSACTION_TIMEOUT_S):
            await producer.begin_transaction()
            delivering = asyncio.ensure_future(deliver(producer, chunks))
            telling = asyncio.ensure_future(
                producer.send_offsets_to_transaction(offset, self._group)
            )
            # Both end where the transaction breaks, and both are waited for.
            await asyncio.gather(delivering, telling, return_exceptions=True)
            telling.result()
            failures = delivering.result()
            if not failures:
                await producer.commit_transaction()
        return failures

    def _improved(self, pending: list[Chunk], failures: Sequence[Failure]) -> list[Chunk]:
        """Return what to send instead: what was too large is made smaller.

        Raises:
            ProducerFenced: another worker has taken the partition.
            KafkaError: trying again may help.
        """
        large = [(part, error) for part, error in failures if is_too_large(error)]
        if not large:
            raise failures[0][1]
        # What came after one that was refused is refused too, as out of order.
        for part, error in large:
            pending = replaced(pending, part, smaller(part, error, self._shrink))
        return pending

    def _refused(self, error: BaseException) -> StreamError:
        return StreamError(
            f"Kafka must let this worker publish transactions for {self._partition.topic}, "
            f"however: {type(error).__name__}: {error}; check its rights on the topics, on the "
            f"group {self._group} and on transactional ids that begin with {self._group}"
        )

    def _close(self, producer: AIOKafkaProducer) -> None:
        task = asyncio.ensure_future(_closed(producer))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _closed(producer: AIOKafkaProducer) -> None:
    """Close a producer without waiting long for what it has still to send."""
    with suppress(Exception):
        async with asyncio.timeout(_CLOSE_S):
            await producer.stop()
    with suppress(Exception):
        await producer.client.close()
    ended = producer._txn_manager.wait_for_transaction_end()
    if ended is not None and ended.done() and not ended.cancelled():
        # Noted, or asyncio would complain of an error that nobody looked at.
        ended.exception()
