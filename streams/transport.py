"""The batch transport: one Faust message for each poll and topic instead of one for each record.

Faust spends about 160 us on every message (a message, an event, a queue, an ack). Here a message's
value is a :class:`Poll`, all records that one poll brought of a topic, so that this is spent once
for up to thousands of events, and one run of the graph covers all partitions. It stays a Faust
app: worker, agents, rebalancing, commits, web and sensors are Faust's.

It is chosen by the broker address ``riskstream://host:port``.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from aiokafka.errors import IllegalStateError, KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.transport.producer import ProducerBuffer
from faust.types import TP, ConsumerMessage, Message
from mode import Service
from mode.types import ServiceT
from mode.utils.futures import notify

from engine.errors import BrokerUnavailable
from streams.consumed import Consumed
from streams.consumer import LoopConsumer
from streams.polls import Breaks, Poll, Positions, message_of
from streams.ranges import Held

#: How long to wait before looking again where every partition is held back, and how long a poll of
#: the others may take where some are: meanwhile, what is let go is not polled.
_HELD_BACK_S, _SOME_HELD_BACK_S = 0.005, 0.02


class BatchConsumer(driver.Consumer):
    """A consumer whose messages are polls.

    An application that keeps its own positions has a method ``positions``: on every assignment the
    consumer then starts there and not at the offset committed in Kafka. Its method ``on_break`` is
    told where offsets do not follow each other, ``on_records`` which partitions records came of,
    before any of them is processed, ``on_quiet`` which a poll found at their end and when this was
    so, and ``on_spare`` that there are no partitions left for it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.positions: Positions | None = getattr(self.app, "positions", None)
        self.on_break: Breaks | None = getattr(self.app, "on_break", None)
        self.epochs: dict[TP, int] = defaultdict(int)
        self.starts: dict[TP, int] = {}
        #: Partitions that are not polled for now, since their last records still wait.
        self.held_back: set[TP] = set()
        self._done: dict[TP, int] = {}
        self._rewinds: dict[TP, int] = {}
        self._next: dict[TP, int] = {}
        self._polled_epochs: Mapping[TP, int] = {}
        #: Polls that have not been let go yet, and what waits until they are.
        self._open: set[Poll] = set()
        self._gate: asyncio.Future[None] | None = None

    _thread: LoopConsumer

    def _new_consumer_thread(self) -> LoopConsumer:
        return LoopConsumer(self, loop=self.loop, beacon=self.beacon)

    def rewind(self, partition: TP, offset: int) -> None:
        """Read a partition from an offset on, from the next poll.

        The seek itself is done by the coroutine that polls, just before it polls, so that no poll
        is under way meanwhile: what a poll brings is wholly of one epoch.
        """
        self._rewinds[partition] = offset
        self.epochs[partition] += 1
        self._done.pop(partition, None)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Have every assigned partition read from where it goes on, and return the offsets."""
        if self.positions is None:
            committed: dict[TP, int | None] = dict(await super().seek_to_committed())
            starts = {tp: offset for tp, offset in committed.items() if offset is not None}
        else:
            starts = dict(await self.positions(self.assignment()))
        self._rewinds.clear()
        self._let_go(*self._open)
        for partition, offset in starts.items():
            self.rewind(partition, offset)
        self.starts = starts
        return starts

    def end_of(self, tp: TP) -> int | None:
        """Return a partition's end as its last fetch told it; None where it told none."""
        state = self._state(tp)
        return None if state is None else cast(int | None, state.highwater)

    def is_caught_up(self, tp: TP) -> bool:
        """Whether a partition has been read to its end, as far as the last fetch of it tells.

        A poll's records are read once the poll has been let go.
        """
        is_open = any(each.topic == tp.topic and tp.partition in each.parts for each in self._open)
        if is_open or tp in self._rewinds:
            return False
        end, at = self.end_of(tp), self._reached(tp)
        return bool(end is not None and at is not None and at >= end)

    def left(self, tp: TP, position: int) -> int | None:
        """Return how many records there are from a position on; None where no fetch told it.

        What ends transactions takes offsets too, and is no record.
        """
        end = self.end_of(tp)
        if end is None:
            return None
        read_to, reached = self._next.get(tp), self._reached(tp)
        if read_to is not None and reached is not None and position >= read_to:
            position = max(position, reached)
        return max(end - position, 0)

    def _reached(self, tp: TP) -> int | None:
        """Return where the next fetch of a partition begins, after the ends of transactions."""
        at, state = self._next.get(tp, self.starts.get(tp)), self._state(tp)
        if at is None or state is None:
            return at
        try:
            return max(at, int(state.position))
        except AssertionError:
            return at

    def _state(self, tp: TP) -> Any:
        """Return what the client knows of a partition; None once it has left."""
        try:
            consumer = cast(Any, self._thread)._ensure_consumer()
            return consumer._subscription.subscription.assignment.state_value(tp)
        except (AssertionError, AttributeError, KeyError):
            return None

    async def held(self, partitions: Iterable[TP], exact_ends: bool) -> dict[TP, Held]:
        """Return what partitions hold.

        Args:
            partitions: the partitions.
            exact_ends: whether the broker's end offsets can be believed.

        Raises:
            BrokerUnavailable: Kafka does not answer.
        """
        asked = list(partitions)
        if not asked:
            return {}
        try:
            beginnings = await self.earliest_offsets(*asked)
            ends = await self.highwaters(*asked) if exact_ends else {}
        except (KafkaError, OSError) as error:
            raise BrokerUnavailable(
                f"Kafka must tell the offsets of {asked[0].topic}, however: "
                f"{type(error).__name__}: {error}"
            ) from None
        return {tp: Held(beginnings[tp], ends.get(tp)) for tp in asked}

    async def getmany(
        self,
        timeout: float,  # noqa: ASYNC109
    ) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Yield one message for each topic that the next poll brings records of."""
        fetched, active = await self._wait_next_records(timeout)
        records = cast(Mapping[TP, Consumed] | None, fetched)
        epochs = self._polled_epochs
        generation_id = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            # A rebalance: every partition is sought before the flow goes on.
            return
        for poll in self._polls(records, active, epochs):
            if not self.flow_active or self.app.consumer_generation_id != generation_id:
                return
            message = message_of(poll, generation_id)
            # Faust drops a message that lies before the last one it read; a poll has its epochs.
            self._read_offset[message.tp] = None
            yield message.tp, message

    def ack(self, message: Message) -> bool:
        """Let a poll go. What may be committed of it is said by :meth:`processed`."""
        if message.acked or not isinstance(cast(object, message.value), Poll):
            return False
        message.acked = True
        self._let_go(cast(Poll, message.value))
        self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)
        return True

    def processed(self, tp: TP, offset: int) -> None:
        """Note that all records before an offset have had their effect: it may be committed."""
        if self._state(tp) is not None:
            self._done[tp] = offset

    def on_buffer_full(self, tp: TP) -> None:
        """Leave the partition active: a full buffer already holds up the next poll."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Do nothing, as :meth:`on_buffer_full` did nothing."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust's check counts single records. See ``/readyz`` and the lag metric."""

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Take partitions; tell the application where there are none."""
        await super().on_partitions_assigned(assigned, generation_id)
        on_spare: Callable[[], Awaitable[None]] | None = getattr(self.app, "on_spare", None)
        if not assigned and on_spare is not None:
            await on_spare()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget what was processed of partitions that leave."""
        before_revoked: Callable[[], Awaitable[None]] | None
        before_revoked = getattr(self.app, "before_revoked", None)
        if before_revoked is not None:
            await before_revoked()
        await super().on_partitions_revoked(revoked)
        for partition in revoked:
            self._done.pop(partition, None)
            self._next.pop(partition, None)

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        """Poll until the fetcher is stopped: Faust's loop without what it does for each record."""
        try:
            while not (self.should_stop or cast(Service, fetcher).should_stop):
                is_idle = True
                async for _, message in self.getmany(timeout=1.0):
                    await self.callback(cast(Message, message))
                    is_idle = False
                # What was handed over is waited for before the next poll.
                if is_idle:
                    await asyncio.sleep(0)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    def _let_go(self, *polls: Poll) -> None:
        self._open.difference_update(polls)
        if not self._open and self._gate is not None and not self._gate.done():
            self._gate.set_result(None)

    async def _last_let_go(self) -> None:
        """Wait until the last polls were let go: what comes meanwhile comes with the next one."""
        while self._open:
            self._gate = asyncio.get_running_loop().create_future()
            await self._gate

    async def _getmany(
        self,
        active_partitions: set[TP] | None,
        timeout: float,  # noqa: ASYNC109
    ) -> Mapping[TP, Any]:
        """Return a mapping of partitions to :class:`streams.consumed.Consumed`."""
        await self._last_let_go()
        try:
            while self._rewinds:
                await self._apply_rewinds()
        except IllegalStateError:
            # The partitions have just left; their next assignment brings new positions.
            return {}
        self._polled_epochs = dict(self.epochs)
        wanted = self.assignment() if active_partitions is None else active_partitions
        if self.held_back:
            wanted = wanted - self.held_back
            timeout = min(timeout, _SOME_HELD_BACK_S)
        if not wanted:
            await self.sleep(_HELD_BACK_S)
            return {}
        records = await self._thread.records(wanted, timeout)
        self._tell_quiet(wanted - records.keys())
        return {tp: batch for tp, batch in records.items() if await self._follows(tp, batch)}

    async def _follows(self, tp: TP, batch: Consumed) -> bool:
        """Whether to take a batch: the one after the last, or one that the application accepts."""
        if not len(batch):
            return False
        found = int(batch.offsets[0])
        expected = self._next.get(tp, found)
        if found != expected and self.on_break and not await self.on_break(tp, expected, found):
            return False
        self._next[tp] = int(batch.offsets[-1]) + 1
        return True

    def _tell_quiet(self, partitions: Iterable[TP]) -> None:
        on_quiet: Callable[[TP, int], None] | None = getattr(self.app, "on_quiet", None)
        if on_quiet is None:
            return
        for tp in partitions:
            # A poll that no fetch answered, since Kafka is away, says nothing.
            state = self._state(tp)
            if state is not None and state.timestamp is not None and self.is_caught_up(tp):
                on_quiet(tp, int(state.timestamp))

    async def _apply_rewinds(self) -> None:
        rewinds, self._rewinds = self._rewinds, {}
        assigned = self.assignment()
        wanted = {tp: offset for tp, offset in rewinds.items() if tp in assigned}
        if wanted:
            await self.seek_wait(wanted)
        self._next.update(wanted)
        self._committed_offset.update(wanted)

    def _polls(
        self,
        records: Mapping[TP, Consumed],
        active: set[TP] | None,
        epochs: Mapping[TP, int],
    ) -> list[Poll]:
        received_ms = time.time_ns() // 1_000_000
        by_topic: dict[str, dict[int, Consumed]] = defaultdict(dict)
        for partition, batch in records.items():
            if len(batch) and (active is None or partition in active):
                by_topic[partition.topic][partition.partition] = batch
                end = self.end_of(partition)
                if end is not None:
                    self.app.monitor.track_tp_end_offset(partition, end)
        on_records: Callable[[Iterable[TP]], None] | None = getattr(self.app, "on_records", None)
        if on_records is not None:
            on_records(TP(topic, each) for topic, parts in by_topic.items() for each in parts)
        polls = []
        for topic, parts in by_topic.items():
            at = {partition: epochs.get(TP(topic, partition), 0) for partition in parts}
            polls.append(Poll(topic, parts, at, received_ms))
        self._open.update(polls)
        return polls

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        for partition in list(self._done):
            if topics is None or partition in topics or partition.topic in topics:
                yield partition

    def _new_offset(self, tp: TP) -> int | None:
        return self._done.get(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: the offsets inside a poll are no gaps."""


class _EmptyBuffer(ProducerBuffer):
    """The buffer of what Faust itself publishes, which is nothing: never full."""

    async def wait_until_ebb(self) -> None:
        """Do nothing: Faust waits here before each message."""


class _IdleProducer(driver.Producer):
    """Faust's own producer, which publishes nothing."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.buffer = _EmptyBuffer(loop=self.loop, beacon=self.beacon)
        self.buffer.app = self.app


class BatchTransport(driver.Transport):
    """Faust's aiokafka transport with a consumer whose messages are polls."""

    Consumer = BatchConsumer
    Producer = _IdleProducer
    default_port = 9092
