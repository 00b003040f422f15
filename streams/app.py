"""The worker's Faust app: an agent for each topic takes its polls through its lane."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, cast

import faust
from faust.types import TP, EventT, StreamT

from engine.errors import BrokerUnavailable, Unavailable
from streams.faust_options import PollSchema, faust_options
from streams.handling import IsLeft, Outcome
from streams.lane import Lane
from streams.log import get_logger
from streams.owning import Owning
from streams.pipeline import Pipeline
from streams.polls import Poll
from streams.ranges import turned_back
from streams.recovery import LOSS_EVERY_S, Recovery
from streams.retries import Interrupted
from streams.settings import Settings
from streams.transport import BatchConsumer
from streams.watch import BrokerWatch
from streams.web import add_pages

logger = get_logger(__name__)

_WATCH_EVERY_S = 1.0
_PING_EVERY_S = 2.0

#: How often clocks are shared: while records wait for other workers, and otherwise.
_ALIGN_EVERY_S = 0.01
_LISTEN_EVERY_S = 0.2


class RiskApp(faust.App):
    """A Faust app that keeps its positions in the state store.

    Args:
        settings: the configuration.
        pipeline: takes the polls; its connections are open.
        exact_ends: whether the broker's end offsets can be believed.
    """

    def __init__(self, settings: Settings, pipeline: Pipeline, *, exact_ends: bool) -> None:
        self.settings = settings
        self.pipeline = pipeline
        self.metrics = pipeline.metrics
        self.exact_ends = exact_ends
        self.failed = asyncio.Event()
        self.error: BaseException | None = None
        self.fetch_max_wait_ms = settings.broker.fetch_wait_ms
        # What a producer has taken back is no event.
        self.reads_committed = exact_ends
        self.commit_note = pipeline.note
        self.has_been_assigned = False
        self.is_spare = False
        self._has_news = asyncio.Event()
        self.recovery = Recovery(self)
        self.owning = Owning(self)
        self._following: set[asyncio.Task[None]] = set()
        self.broker_watch = BrokerWatch(pipeline.ping_broker, settings.broker.bootstrap)
        super().__init__(settings.app.id, **faust_options(settings))
        self.in_worker = True
        for name in pipeline.lanes:
            topic = self.topic(name, schema=PollSchema(), partitions=None)
            self.agent(topic, name=name)(self._read)
        for task in (self._watch, self._reclaim, self._watch_broker):
            self.task(task)
        if pipeline.alignment.is_on:
            self.task(self._align)
        add_pages(self)

    @property
    def batches(self) -> BatchConsumer:
        """The consumer, as the batch transport's."""
        return cast(BatchConsumer, self.consumer)

    def fail(self, error: BaseException) -> None:
        """Have the worker stop with an error."""
        self.error = self.error or error
        self.failed.set()

    async def positions(self, partitions: Iterable[TP]) -> Mapping[TP, int]:
        """Tell the consumer where its partitions go on, on every assignment."""
        self.recovery.forget()
        self.batches.held_back.clear()
        self.metrics.forget_partitions()
        self.pipeline.retries.allow()
        wanted = list(partitions)
        self.pipeline.tell_more(wanted)
        starts: dict[TP, int] = {}
        for lane in self.pipeline.lanes.values():
            lane.leave_all()
        # Faust stops working for good, without a word, where this takes the request timeout.
        with suppress(TimeoutError):
            async with asyncio.timeout(self.settings.broker.request_timeout_s * 0.8):
                for topic, lane in self.pipeline.lanes.items():
                    starts |= await self.owning.take(
                        lane, [tp for tp in wanted if tp.topic == topic]
                    )
        missing = sorted(set(wanted) - starts.keys() - self.recovery.losses.keys())
        if missing:
            named = ", ".join(f"{tp.partition} of {tp.topic}" for tp in missing)
            logger.warning("partitions wait for the state store: %s", named)
        self.recovery.put_aside(missing)
        self.recovery.put_aside(self.recovery.losses, LOSS_EVERY_S)
        self.has_been_assigned, self.is_spare = True, False
        return starts

    @property
    def on_records(self) -> Callable[[Iterable[TP]], None] | None:
        """Notes that there is something to process of partitions, where anybody asks."""
        return self._note_records if self.pipeline.alignment.is_on else None

    @property
    def on_quiet(self) -> Callable[[TP, int], None] | None:
        """Notes that nothing more was in a partition at a moment, where anybody asks."""
        return self._note_quiet if self.pipeline.alignment.is_on else None

    async def on_spare(self) -> None:
        """Leave everything: the other workers have all partitions. This one can take over."""
        self.recovery.forget()
        await self._leave_all()
        self.is_spare = True

    async def on_break(self, partition: TP, expected: int, found: int) -> bool:
        """Take records after those that Kafka deleted; stop at records from before the position."""
        if found < expected:
            self.fail(turned_back(partition.topic, partition.partition, expected, found))
            return False
        epoch = self.batches.epochs[partition]
        try:
            held = await self.batches.held([partition], self.exact_ends)
        except BrokerUnavailable:
            # Who has sought it meanwhile knows better where it goes on.
            if self.batches.epochs[partition] == epoch:
                self.batches.rewind(partition, expected)
            return False
        self.owning.tell_lost(partition, expected, min(held[partition].beginning, found))
        return True

    async def before_revoked(self) -> None:
        """Finish the batch at hand, or give it up where it waits for a server; take no other.

        What waited for slower partitions is their next owners', who would be fenced by it.
        """
        self.owning.revoked()
        self.pipeline.retries.interrupt()
        self.recovery.forget()
        await self._leave_all()

    async def _leave_all(self) -> None:
        for lane in self.pipeline.lanes.values():
            async with lane.lock:
                await self.settle(lane)
                lane.leave_all()
        self.pipeline.outbox.leave()

    async def on_stop(self) -> None:
        """Finish the batch at hand, or give it up where it waits for a server that is away."""
        self.pipeline.retries.interrupt()
        for lane in self.pipeline.lanes.values():
            async with lane.lock:
                await self.settle(lane)
        await super().on_stop()
        for lane in self.pipeline.lanes.values():
            # Offsets are told no more; the position in the store counts.
            with suppress(Interrupted):
                await lane.land()

    def _note_records(self, partitions: Iterable[TP]) -> None:
        for tp in partitions:
            self.pipeline.alignment.arrived((tp.topic, tp.partition))

    def _note_quiet(self, tp: TP, at_ms: int) -> None:
        self.pipeline.alignment.quiet((tp.topic, tp.partition), at_ms)

    async def _read(self, stream: StreamT[Poll]) -> None:
        async for event in cast(Any, stream).noack().events():
            await self._process(stream, event)

    async def _process(self, stream: StreamT[Poll], event: EventT[Poll]) -> None:
        poll = cast(Poll, event.value)
        lane = self.pipeline.lanes[poll.topic]
        try:
            await self._go_on(lane, lambda is_left: lane.process(poll, is_left))
        finally:
            await stream.ack(event)

    async def _go_on(self, lane: Lane[Any], action: Callable[[IsLeft], Awaitable[Outcome]]) -> None:
        """Have a lane process records, and follow what comes of it."""

        def is_left(partition: int, epoch: int) -> bool:
            """Whether records are another worker's, or are about to be read again."""
            tp = TP(lane.topic, partition)
            return tp in self.recovery.waiting or self.batches.epochs[tp] != epoch

        async with lane.lock:
            await self._attempt(lane, action(is_left))
        if lane.flight is not None:
            lane.flight.add_done_callback(lambda flight: self._follow_later(lane, flight))
        if self.pipeline.alignment.is_on and self.pipeline.alignment.is_urgent():
            self._has_news.set()

    async def settle(self, lane: Lane[Any]) -> None:
        """Wait until the batch in flight has had its effect; whoever calls has the lane's lock."""
        await self._attempt(lane, lane.land())

    async def _attempt(self, lane: Lane[Any], action: Awaitable[Outcome]) -> None:
        with self._failing():
            self._follow(lane, await action)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except Interrupted as error:
            logger.warning("%s", error)
        except Exception as error:  # whatever it is, the worker stops rather than skip events
            self.fail(error)

    def _follow_later(self, lane: Lane[Any], flight: asyncio.Task[Any]) -> None:
        """Follow what comes of a batch that has had its effect, unless the next one does."""
        if lane.flight is not flight or lane.lock.locked():
            return
        if not (flight.cancelled() or self.pipeline.alignment.is_on or lane.waiting):
            # Nothing goes on once it has landed: no task is needed for it.
            with self._failing():
                self._follow(lane, lane.landed())
            return
        following = asyncio.create_task(self._go_on(lane, lane.advance))
        self._following.add(following)
        following.add_done_callback(self._following.discard)

    def _follow(self, lane: Lane[Any], outcome: Outcome) -> None:
        # Told by Faust, an offset could be told after a later one of a transaction.
        done = {} if self.pipeline.outbox.tells_offsets else outcome.done
        for partition, offset in done.items():
            self.batches.processed(TP(lane.topic, partition), offset)
        # Who wrote to one has a session timeout to take it over, or to be told that it lost it.
        fenced = [TP(lane.topic, each) for each in outcome.fenced]
        self.recovery.put_aside(fenced, self.settings.broker.session_timeout_s)
        self.recovery.go_back([TP(lane.topic, each) for each in outcome.rewind])
        others = {tp for tp in self.batches.held_back if tp.topic != lane.topic}
        self.batches.held_back = others | {TP(lane.topic, each) for each in lane.waiting}

    async def _align(self) -> None:
        """Share clocks with other workers, and let records go that waited for slower partitions."""
        lanes = self.pipeline.lanes.values()
        while not self.should_stop:
            is_waiting = any(lane.waiting for lane in lanes)
            with suppress(TimeoutError):
                async with asyncio.timeout(_ALIGN_EVERY_S if is_waiting else _LISTEN_EVERY_S):
                    await self._has_news.wait()
            self._has_news.clear()
            try:
                await self.pipeline.share_clocks()
            except Unavailable:
                # Whatever else needs the store says so.
                await self.sleep(_LISTEN_EVERY_S)
            for lane in lanes:
                if lane.waiting:
                    await self._go_on(lane, lane.advance)

    async def _watch(self) -> None:
        while not self.should_stop:
            await self.sleep(_WATCH_EVERY_S)
            self._measure_lag()
            self.pipeline.show_alignment()

    async def _reclaim(self) -> None:
        while not self.should_stop:
            await self.recovery.look()

    async def _watch_broker(self) -> None:
        while not self.should_stop:
            await self.sleep(_PING_EVERY_S)
            await self.broker_watch.look()

    def _measure_lag(self) -> None:
        gauges = {
            self.settings.topics.transactions: self.metrics.lag,
            self.settings.topics.labels: self.metrics.label_lag,
        }
        for tp in self.batches.assignment():
            position = self.pipeline.lanes[tp.topic].stored(tp.partition)
            position = self.batches.starts.get(tp) if position is None else position
            left = None if position is None else self.batches.left(tp, position)
            if left is not None:
                gauges[tp.topic].labels(tp.partition).set(left)

    def _create_directories(self) -> None:
        """Do nothing: there are no tables, so there is nothing to keep on disk."""
