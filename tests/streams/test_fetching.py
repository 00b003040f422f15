"""Fetching when records are wanted, and what is left to the client."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import CorruptRecordException

import streams.fetching
from streams.embedded.kafka import ApacheKafka
from streams.fetching import Fetching
from streams.protocol import FetchAnswer, send

WITHIN_S = 60.0


async def new_topic(bootstrap: str, partitions: int = 1) -> str:
    name = f"fetch-{uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, partitions, 1)])
    await admin.close()
    return name


async def publish(bootstrap: str, tp: TopicPartition, *values: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for value in values:
            await producer.send_and_wait(tp.topic, value, partition=tp.partition)


@asynccontextmanager
async def fetching(
    bootstrap: str, *tps: TopicPartition, **settings: int
) -> AsyncIterator[tuple[AIOKafkaConsumer, Fetching]]:
    """A consumer of partitions from their beginning on, whose records are fetched here."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=100,
        **settings,
    )
    async with consumer:
        consumer.assign(list(tps))
        for tp in tps:
            consumer.seek(tp, 0)
        found = Fetching(consumer)
        yield consumer, found
        await found.close()


async def take(
    found: Fetching, tps: set[TopicPartition], n: int, most: int | None = None
) -> dict[TopicPartition, list[bytes | None]]:
    """Return the values of the next ``n`` records, by partition."""
    values: dict[TopicPartition, list[bytes | None]] = {tp: [] for tp in tps}
    end_s = monotonic() + WITHIN_S
    while sum(map(len, values.values())) < n:
        assert monotonic() < end_s, f"{values} after {WITHIN_S:g} s"
        for tp, records in (await found.records(tps, 0.5, most)).items():
            assert most is None or len(records) <= most
            values[tp] += records.values
    return values


async def test_records_come_in_order_whatever_the_most_that_is_taken(apache_kafka: str) -> None:
    topic = await new_topic(apache_kafka, 2)
    tps = {TopicPartition(topic, each) for each in range(2)}
    wanted = {tp: [b"%d-%d" % (tp.partition, at) for at in range(30)] for tp in tps}
    for tp, values in wanted.items():
        await publish(apache_kafka, tp, *values)
    for most in (1, 7, None):
        async with fetching(apache_kafka, *tps) as (_, found):
            assert await take(found, tps, 60, most) == wanted


async def test_nothing_is_there_and_what_comes_is_not_waited_for_long(apache_kafka: str) -> None:
    tp = TopicPartition(await new_topic(apache_kafka), 0)
    async with fetching(apache_kafka, tp) as (_, found):
        assert await found.records({tp}, 0.3, None) == {}
        await publish(apache_kafka, tp, b"a")
        assert await take(found, {tp}, 1) == {tp: [b"a"]}


async def test_what_was_sought_meanwhile_is_read_from_there(apache_kafka: str) -> None:
    tp = TopicPartition(await new_topic(apache_kafka), 0)
    await publish(apache_kafka, tp, b"a", b"b", b"c")
    async with fetching(apache_kafka, tp) as (consumer, found):
        assert await take(found, {tp}, 1, most=1) == {tp: [b"a"]}
        # What is here is of another place, and so is what is asked for.
        consumer.seek(tp, 2)
        assert await take(found, {tp}, 1) == {tp: [b"c"]}
        assert await found.records({tp}, 0, None) == {}
        consumer.seek(tp, 1)
        assert await take(found, {tp}, 2) == {tp: [b"b", b"c"]}


async def test_what_is_not_wanted_waits(apache_kafka: str) -> None:
    topic = await new_topic(apache_kafka, 2)
    first, second = (TopicPartition(topic, each) for each in range(2))
    await publish(apache_kafka, first, b"a")
    await publish(apache_kafka, second, b"b")
    async with fetching(apache_kafka, first, second) as (_, found):
        assert await take(found, {first}, 1) == {first: [b"a"]}
        # Asked for with the others, it is there as soon as it is wanted.
        assert await found.records({first}, 0.3, None) == {}
        assert (await found.records({second}, 0, None))[second].values == [b"b"]


@pytest.mark.parametrize(("most_bytes", "requests"), [(1_000_000, 1), (1_000, 2)])
async def test_only_where_more_waits_than_an_answer_holds_is_asked_ahead(
    most_bytes: int, requests: int, apache_kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def counting(*arguments: Any) -> asyncio.Future[Any]:
        asked.append(arguments)
        return send(*arguments)

    monkeypatch.setattr(streams.fetching, "send", counting)
    tp = TopicPartition(await new_topic(apache_kafka), 0)
    async with fetching(apache_kafka, tp, max_partition_fetch_bytes=most_bytes) as (_, found):
        await publish(apache_kafka, tp, b"first")
        assert await take(found, {tp}, 1) == {tp: [b"first"]}
        assert not found.is_left
        asked.clear()
        # Each is a batch of its own.
        values = [b"%d" % at for at in range(400)]
        await publish(apache_kafka, tp, *values)
        first = (await found.records({tp}, WITHIN_S, None))[tp].values
        assert len(asked) == requests
        rest = await take(found, {tp}, len(values) - len(first))
        assert [*first, *rest[tp]] == values


async def test_an_offset_that_is_no_more_is_left_to_the_client(apache_kafka: str) -> None:
    tp = TopicPartition(await new_topic(apache_kafka), 0)
    await publish(apache_kafka, tp, b"a", b"b")
    async with fetching(apache_kafka, tp) as (consumer, found):
        consumer.seek(tp, 1_000)
        # As the client is configured: from the beginning.
        assert await take(found, {tp}, 2) == {tp: [b"a", b"b"]}
        await publish(apache_kafka, tp, b"c")
        assert await take(found, {tp}, 1) == {tp: [b"c"]}
        assert not found.is_left


async def test_what_a_producer_took_back_is_not_read(apache_kafka: str) -> None:
    tp = TopicPartition(await new_topic(apache_kafka), 0)
    producer = AIOKafkaProducer(bootstrap_servers=apache_kafka, transactional_id=uuid4().hex)
    async with producer:
        for at, is_kept in enumerate((True, False, True)):
            await producer.begin_transaction()
            await producer.send_and_wait(tp.topic, b"%d" % at, partition=0)
            await (producer.commit_transaction() if is_kept else producer.abort_transaction())
    async with fetching(apache_kafka, tp) as (consumer, found):
        assert await take(found, {tp}, 2) == {tp: [b"0", b"2"]}
        assert not found.is_left
        # What ends transactions takes offsets too.
        assert await found.records({tp}, 0.3, None) == {}
        assert await consumer.position(tp) == 6


async def test_records_that_were_damaged_are_not_passed_on(
    apache_kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tp = TopicPartition(await new_topic(apache_kafka), 0)
    await publish(apache_kafka, tp, b"whole")
    decode = FetchAnswer.decode

    def damaged(buffer: object) -> object:
        found = decode(buffer)  # type: ignore[arg-type]
        return [each._replace(records=each.records.replace(b"whole", b"whxle")) for each in found]

    async with fetching(apache_kafka, tp) as (_, found):
        assert await take(found, {tp}, 1) == {tp: [b"whole"]}
        monkeypatch.setattr(FetchAnswer, "decode", damaged)
        await publish(apache_kafka, tp, b"whole")
        with pytest.raises(CorruptRecordException):
            await take(found, {tp}, 1)


async def test_a_broker_of_other_versions_is_left_to_the_client(
    apache_kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams.fetching.Fetch, "API_VERSION", 99)
    tp = TopicPartition(await new_topic(apache_kafka), 0)
    await publish(apache_kafka, tp, b"a", b"b")
    async with fetching(apache_kafka, tp) as (_, found):
        assert await take(found, {tp}, 2, most=1) == {tp: [b"a", b"b"]}


async def test_a_broker_that_does_not_answer_is_asked_again_once_it_does(
    kafka_home: Path, tmp_path: Path
) -> None:
    with ApacheKafka(kafka_home, tmp_path, heap_mb=256) as kafka:
        tp = TopicPartition(await new_topic(kafka.bootstrap), 0)
        await publish(kafka.bootstrap, tp, b"a")
        async with fetching(kafka.bootstrap, tp, request_timeout_ms=3_000) as (_, found):
            assert await take(found, {tp}, 1) == {tp: [b"a"]}
            os.kill(kafka.pid or 0, signal.SIGSTOP)
            end_s = monotonic() + WITHIN_S
            while not found.is_left:
                assert monotonic() < end_s, "nobody saw that Kafka does not answer"
                assert await found.records({tp}, 0.2, None) == {}
            os.kill(kafka.pid or 0, signal.SIGCONT)
            await asyncio.wait_for(publish(kafka.bootstrap, tp, b"b"), WITHIN_S)
            assert await take(found, {tp}, 1) == {tp: [b"b"]}
