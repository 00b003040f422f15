"""Exactly once: readers with read_committed see each result once, whatever dies or is paused."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import orjson
import pytest
from aiokafka.errors import ProducerFenced
from redis import Redis

from engine.records import Record
from streams.committed import committed
from streams.embedded.processes import choose_port
from streams.embedded.valkey import EmbeddedValkey
from streams.kafka import new_producer
from streams.metrics import Metrics
from streams.outbox.base import Results
from streams.outbox.exactly_once import ExactlyOnce
from streams.publisher import Publisher
from streams.retries import Retries
from tests.bundles import shared_bundle
from tests.streams.harness import Outputs, Stream
from tests.streams.synthetic import payments, sent
from tests.streams.test_delivery import create
from tests.streams.test_positions import counted
from tests.streams.test_shared_stream import (
    DAY_S,
    TOLERANCE,
    events_of,
    labels_of,
    largest_difference,
    offline_scores,
)
from tests.waiting import wait_for

MakeStream = Callable[..., Stream]

EXACT = {"app__guarantee": "exactly_once"}


def seen(outputs: Outputs) -> tuple[Counter[str], Counter[str]]:
    """How often each score and each alert was seen."""
    scores = Counter(orjson.loads(each.value)["score_id"] for each in outputs.scores)
    alerts = Counter(orjson.loads(each.value)["alert_id"] for each in outputs.alerts)
    return scores, alerts


def assert_once(outputs: Outputs) -> None:
    for counts in seen(outputs):
        assert counts
        assert set(counts.values()) == {1}


async def test_workers_that_are_killed_publish_everything_once(
    make_stream: MakeStream, apache_kafka: str, tmp_path: Path
) -> None:
    bundle = shared_bundle(tmp_path / "bundle")
    events, frauds = events_of(2_500, seed=3)
    stream = make_stream(
        apache_kafka, bundle=bundle, worker__max_batch=100, alignment__grace_s=DAY_S, **EXACT
    )
    await stream.produce(labels_of(events, frauds), stream.settings.topics.labels)
    await stream.produce([*(sent(event) for event in events)])
    async with stream.reader() as (consumer, _):
        read = 0
        for target in (500, 1_200):
            worker = stream.worker(worker__web_port=0)
            while read < target:
                read += sum(map(len, (await consumer.getmany(timeout_ms=100)).values()))
            worker.kill()
    stream.worker(worker__web_port=0)
    outputs = await stream.collect(len(events))
    assert outputs.answered == len(events)
    assert_once(outputs)
    found = {event: body["score"] for event, body in outputs.by_event().items()}
    assert largest_difference(found, offline_scores(bundle, events, frauds)) <= TOLERANCE


async def test_a_store_that_lost_everything_is_rebuilt_without_publishing_again(
    make_stream: MakeStream, apache_kafka: str, tmp_path: Path
) -> None:
    bundle = shared_bundle(tmp_path / "bundle")
    events, _ = events_of(1_200, seed=4)
    with EmbeddedValkey(tmp_path / "store", port=choose_port(None)) as store:
        stream = make_stream(
            apache_kafka, bundle=bundle, state__url=store.url, alignment__grace_s=DAY_S, **EXACT
        )
        worker = stream.worker()
        await stream.produce([sent(event) for event in events[:800]])
        await stream.collect(800)
        scored = partial(counted, worker, "riskstream_scores_total")
        # What is published is counted once its state is written.
        wait_for(lambda: scored() == 800, 60, "the first events to be counted")
        with Redis.from_url(store.url) as redis:
            redis.flushall()
        await stream.produce([sent(event) for event in events[800:]])
        outputs = await stream.collect(1_200)
        assert_once(outputs)
        assert outputs.answered == 1_200
        wait_for(
            lambda: counted(worker, "riskstream_rebuilt_events_total") == 800,
            60,
            "the events that were scored again to be counted",
        )
        wait_for(lambda: scored() == 1_200, 60, "the others to be counted")
    found = {event: body["score"] for event, body in outputs.by_event().items()}
    assert largest_difference(found, offline_scores(bundle, events, None)) <= TOLERANCE


async def test_an_alert_that_is_too_large_goes_without_its_event_in_a_transaction(
    make_stream: MakeStream, apache_kafka: str
) -> None:
    events = payments(40, accounts=1)
    events[20]["note"] = "n" * 50_000
    stream = make_stream(apache_kafka, topics__partitions=1, model__review_threshold=0.0, **EXACT)
    await create(apache_kafka, stream.settings.topics.alerts, max_message_bytes="20000")
    await stream.produce([sent(event) for event in events])
    stream.worker(worker__web_port=0)
    outputs = await stream.collect(40, alerts=40)
    assert_once(outputs)
    alerts = [orjson.loads(each.value) for each in outputs.alerts]
    assert [each["event_id"] for each in alerts] == [each["transaction_id"] for each in events]
    assert [each["event_id"] for each in alerts if "event" not in each] == ["t20"]


async def test_the_embedded_broker_is_refused(
    make_stream: MakeStream, embedded_broker: str
) -> None:
    failed = make_stream(embedded_broker, **EXACT).fails()
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr
    (line,) = [each for each in failed.stderr.splitlines() if each.startswith("error:")]
    assert "app.guarantee" in line
    assert "Apache Kafka" in line


@asynccontextmanager
async def outbox(stream: Stream) -> AsyncIterator[ExactlyOnce]:
    """The way out of one worker."""
    settings = stream.settings
    producer = new_producer(settings.broker)
    await producer.start()
    partitions = dict.fromkeys(settings.topics.names, 1)
    publisher = Publisher(producer, settings.broker, partitions)
    opened = ExactlyOnce(settings, publisher, {}, Retries(Metrics()), "states")
    try:
        yield opened
    finally:
        await opened.close()
        await producer.stop()


def results(topic: str, *values: bytes) -> Results:
    found = Results()
    found.add(topic, 0, 0, [Record(b"a", value) for value in values])
    return found


async def texts(stream: Stream, count: int) -> list[bytes]:
    """The first scores that a reader with read_committed sees."""
    found: list[bytes] = []
    async with stream.reader() as (consumer, lists):
        while len(found) < count:
            for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                if lists[tp.topic] == "scores":
                    found += [each.value for each in records]
    return found


async def test_a_worker_that_lost_its_partition_publishes_nothing_more(
    make_stream: MakeStream, apache_kafka: str
) -> None:
    stream = make_stream(apache_kafka, topics__partitions=1, **EXACT)
    topic, scores = stream.settings.topics.transactions, stream.settings.topics.scores
    await stream.produce([sent(each) for each in payments(10, accounts=1)])
    async with outbox(stream) as first, outbox(stream) as second:
        await first.own(topic, [0])
        assert await first.publish(topic, {0: 3}, results(scores, b"1")) == set()
        await second.own(topic, [0])
        assert second.published(topic, 0) == 3
        assert await first.publish(topic, {0: 6}, results(scores, b"zombie")) == {0}
        assert await second.publish(topic, {0: 6}, results(scores, b"2")) == set()
        # It has noticed, and stays out, whatever is tried.
        assert await first.publish(topic, {0: 7}, results(scores, b"zombie")) == {0}
        assert await second.publish(topic, {0: 9}, results(scores, b"3")) == set()
    assert await texts(stream, 3) == [b"1", b"2", b"3"]
    place = (topic, 0)
    found = await committed(stream.settings.broker, stream.settings.app.id, [place])
    assert (found[place].offset, found[place].note) == (9, "states")


async def test_a_transaction_in_doubt_is_settled_by_its_offset(
    make_stream: MakeStream, apache_kafka: str
) -> None:
    stream = make_stream(apache_kafka, topics__partitions=1, **EXACT)
    topic, scores = stream.settings.topics.transactions, stream.settings.topics.scores
    await stream.produce([sent(each) for each in payments(10, accounts=1)])
    async with outbox(stream) as mine:
        await mine.own(topic, [0])
        outlet = mine._outlets[topic, 0]
        assert await mine.publish(topic, {0: 3}, results(scores, b"1")) == set()
        # As after a commit whose answer was lost, and after one that never reached Kafka.
        outlet.give_up()
        outlet.published = 0
        assert await mine.publish(topic, {0: 3}, results(scores, b"1")) == set()
        outlet.give_up()
        assert await mine.publish(topic, {0: 5}, results(scores, b"2")) == set()
    assert await texts(stream, 2) == [b"1", b"2"]


async def test_a_transaction_that_was_begun_is_not_seen_and_holds_up_nobody(
    make_stream: MakeStream, apache_kafka: str
) -> None:
    stream = make_stream(apache_kafka, topics__partitions=1, **EXACT)
    topic, scores = stream.settings.topics.transactions, stream.settings.topics.scores
    await stream.produce([sent(each) for each in payments(10, accounts=1)])
    async with outbox(stream) as first, outbox(stream) as second:
        await first.own(topic, [0])
        producer = first._outlets[topic, 0]._producer
        assert producer is not None
        await producer.begin_transaction()
        await producer.send_and_wait(scores, b"begun", partition=0)
        await second.own(topic, [0])
        assert second.published(topic, 0) == 0
        assert await second.publish(topic, {0: 3}, results(scores, b"1")) == set()
        with pytest.raises(ProducerFenced):
            await producer.commit_transaction()
    assert await texts(stream, 1) == [b"1"]


@pytest.mark.parametrize("size", [1, 7, 60])
async def test_what_is_too_large_is_made_smaller_and_nothing_is_sent_twice(
    make_stream: MakeStream, apache_kafka: str, size: int
) -> None:
    stream = make_stream(apache_kafka, topics__partitions=1, **EXACT)
    small = f"small-{uuid4().hex[:8]}"
    await create(apache_kafka, small, max_message_bytes="2000")
    topic = stream.settings.topics.transactions
    await stream.produce([sent(each) for each in payments(10, accounts=1)])
    stream.settings.topics.__dict__["scores"] = small
    values = [bytes([65 + n]) * 600 for n in range(size)]
    async with outbox(stream) as mine:
        await mine.own(topic, [0])
        assert await mine.publish(topic, {0: size}, results(small, *values)) == set()
    assert await texts(stream, size) == values
