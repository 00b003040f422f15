"""The batch transport under an app of a few lines: what it holds back, finishes and commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import uuid4

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from faust.types import TP

from streams.configuration import load_settings
from streams.faust_options import PollSchema, faust_options
from streams.kafka import ensure_topics
from streams.polls import Poll
from streams.settings import Settings
from streams.transport import BatchConsumer
from tests.waiting import wait_for_async

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


class Reading(faust.App):
    """Notes the offsets it reads, and keeps its positions in a dictionary.

    Args:
        settings: the configuration.
        kept: the positions; all apps of a test share them, as a state store.
    """

    def __init__(self, settings: Settings, kept: dict[TP, int]) -> None:
        self.kept = kept
        self.seen: dict[TP, list[int]] = {}
        self.polls: list[int] = []
        self.told: list[str] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.fetch_max_wait_ms = settings.broker.fetch_wait_ms
        super().__init__(settings.app.id, **faust_options(settings))
        self.in_worker = True
        name = settings.topics.transactions
        self.agent(self.topic(name, schema=PollSchema()), name=name)(self._read)

    @property
    def batches(self) -> BatchConsumer:
        return cast(BatchConsumer, self.consumer)

    @property
    def mine(self) -> set[int]:
        return {tp.partition for tp in self.batches.assignment()}

    async def positions(self, partitions: Iterable[TP]) -> Mapping[TP, int]:
        self.told.append("positions")
        return {tp: self.kept.get(tp, 0) for tp in partitions}

    async def before_revoked(self) -> None:
        self.told.append("revoked")

    async def _read(self, stream: Any) -> None:
        async for event in stream.noack().events():
            poll = cast(Poll, event.value)
            self.polls.append(len(poll))
            await self.may_go_on.wait()
            for partition, records in poll.parts.items():
                tp = TP(poll.topic, partition)
                if poll.epochs[partition] == self.batches.epochs[tp]:
                    self.seen.setdefault(tp, []).extend(records.offsets.tolist())
                    self.kept[tp] = int(records.offsets[-1]) + 1
                    self.batches.processed(tp, self.kept[tp])
            await stream.ack(event)


def settings_of(broker: str) -> Settings:
    name = f"t{uuid4().hex[:8]}"
    return load_settings(
        None,
        {
            "app.id": name,
            "broker.bootstrap": broker,
            "broker.session_timeout_s": 6.0,
            "broker.fetch_wait_ms": 20,
            "worker.web_port": 0,
            "worker.commit_interval_s": 0.1,
            "topics.partitions": 2,
            **{f"topics.{each}": f"{name}-{each}" for each in ("transactions", "labels", "scores")},
            **{f"topics.{each}": f"{name}-{each}" for each in ("alerts", "dead_letters")},
        },
    )


@asynccontextmanager
async def reading(settings: Settings, kept: dict[TP, int]) -> AsyncIterator[Reading]:
    app = Reading(settings, kept)
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


async def produce(settings: Settings, n: int) -> None:
    """Send so many records to each partition."""
    await ensure_topics(settings)
    topic = settings.topics.transactions
    producer = AIOKafkaProducer(bootstrap_servers=settings.broker.bootstrap, acks="all")
    await producer.start()
    try:
        for partition in (0, 1):
            pending = [await producer.send(topic, b"x", partition=partition) for _ in range(n)]
            await asyncio.gather(*pending)
    finally:
        await producer.stop()


async def committed(settings: Settings) -> dict[int, int | None]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.broker.bootstrap, group_id=settings.app.id
    )
    await consumer.start()
    try:
        topic = settings.topics.transactions
        return {at: await consumer.committed(TopicPartition(topic, at)) for at in (0, 1)}
    finally:
        await consumer.stop()


async def until(condition: Callable[[], bool], what: str) -> None:
    async def holds() -> bool:
        return condition()

    await wait_for_async(holds, 60, what)


async def hold_back(app: Reading, *partitions: TP) -> None:
    """Hold partitions back, once the poll that is under way has ended."""
    polled = app.batches._polled_epochs
    app.batches.held_back = set(partitions)
    await until(lambda: app.batches._polled_epochs is not polled, "the next poll")


async def test_what_is_held_back_waits_and_nothing_of_it_is_lost(embedded_broker: str) -> None:
    settings = settings_of(embedded_broker)
    first, second = (TP(settings.topics.transactions, at) for at in (0, 1))
    await produce(settings, 50)
    async with reading(settings, {}) as app:
        await until(lambda: app.kept == {first: 50, second: 50}, "the first records")
        await hold_back(app, first)
        await until(lambda: app.batches.is_caught_up(second), "the end of the second")
        await produce(settings, 50)
        await until(lambda: app.kept[second] == 100, "the records that are not held back")
        assert app.kept[first] == 50
        await hold_back(app, first, second)
        await produce(settings, 10)
        app.batches.held_back = set()
        await until(lambda: app.kept == {first: 110, second: 110}, "the rest")
        assert app.seen == {each: list(range(110)) for each in (first, second)}


async def test_a_partition_is_at_its_end_once_its_polls_were_let_go(embedded_broker: str) -> None:
    settings = settings_of(embedded_broker)
    tp = TP(settings.topics.transactions, 0)
    await produce(settings, 20)
    async with reading(settings, {}) as app:
        app.may_go_on.clear()
        await until(lambda: app.batches._next.get(tp) == 20, "the records to be polled")
        assert not app.batches.is_caught_up(tp)
        app.may_go_on.set()
        await until(lambda: app.batches.is_caught_up(tp), "the partition's end")
        assert app.kept[tp] == 20
        app.batches.rewind(tp, 5)
        assert not app.batches.is_caught_up(tp)
        await until(lambda: len(app.seen[tp]) == 35, "the records read again")
        assert app.seen[tp] == [*range(20), *range(5, 20)]
        await until(lambda: app.batches.is_caught_up(tp), "the partition's end again")


async def test_what_comes_while_a_poll_is_taken_comes_with_the_next(apache_kafka: str) -> None:
    settings = settings_of(apache_kafka)
    await produce(settings, 1)
    async with reading(settings, {}) as app:
        await until(lambda: list(app.kept.values()) == [1, 1], "the first records")
        app.may_go_on.clear()
        app.polls.clear()
        await produce(settings, 1)
        await until(lambda: bool(app.polls), "a poll")
        for _ in range(5):
            await produce(settings, 2)
        app.may_go_on.set()
        await until(lambda: list(app.kept.values()) == [12, 12], "the rest")
        first, second = app.polls
        assert first + second == 22
        assert first <= 2


async def test_what_was_processed_is_committed(embedded_broker: str) -> None:
    settings = settings_of(embedded_broker)
    await produce(settings, 30)
    async with reading(settings, {}) as app:
        await until(lambda: list(app.kept.values()) == [30, 30], "all records")
        app.batches.processed(TP("another", 7), 99)

        async def all_is() -> bool:
            return await committed(settings) == {0: 30, 1: 30}

        await wait_for_async(all_is, 60, "the commit")
        assert TP("another", 7) not in app.batches._done


async def test_a_rebalance_has_every_partition_go_on_at_its_position(apache_kafka: str) -> None:
    settings = settings_of(apache_kafka)
    kept: dict[TP, int] = {}
    await produce(settings, 40)
    async with reading(settings, kept) as app:
        await until(lambda: sorted(kept.values()) == [40, 40], "all records")
        await hold_back(app, *app.batches.assignment())
        app.told.clear()
        await produce(settings, 40)
        async with reading(settings, kept) as other:
            await until(
                lambda: len(app.batches.starts) == len(other.batches.starts) == 1,
                "each to have a partition",
            )
            assert app.told == ["revoked", "positions"]
            (left,) = {0, 1} - app.mine
            tp = TP(settings.topics.transactions, left)
            # What the first had of it is neither committed nor taken for read.
            app.batches.processed(tp, 7)
            assert tp not in app.batches._done
            assert not app.batches.is_caught_up(tp)
            app.batches.held_back = set()
            await until(lambda: sorted(kept.values()) == [80, 80], "the rest, by both")
            assert other.seen == {tp: list(range(40, 80))}
        await until(lambda: app.mine == {0, 1}, "all partitions again")
        await produce(settings, 5)
        await until(lambda: sorted(kept.values()) == [85, 85], "what came after the other left")
        assert app.seen[tp] == [*range(40), *range(80, 85)]
