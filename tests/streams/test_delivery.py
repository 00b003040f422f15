"""Records that a broker refuses, for a while or for good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from engine.errors import BrokerUnavailable, StreamError
from engine.records import Record
from streams.chunks import Chunk
from streams.embedded.kafka import ApacheKafka
from streams.express import send_at_once
from streams.kafka import new_producer
from streams.publisher import Publisher
from streams.settings import Broker
from tests.streams.harness import Stream
from tests.streams.synthetic import Sent, payments, sent

MakeStream = Callable[..., Stream]


async def create(bootstrap: str, topic: str, **config: str) -> None:
    """Create a topic of one partition."""
    settings = {name.replace("_", "."): value for name, value in config.items()}
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=settings)])
    await admin.close()


async def read_all(bootstrap: str, topic: str) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        tp = TopicPartition(topic, 0)
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        return [(await consumer.getone(tp)).value for _ in range(end)]
    finally:
        await consumer.stop()


async def test_what_is_acknowledged_is_not_sent_again(kafka_home: Path, tmp_path: Path) -> None:
    values = [b"0", b"1", b"2"]
    parts = [(0, [Record(b"a", value) for value in values])]
    explicit = {"auto.create.topics.enable": "false"}
    with ApacheKafka(kafka_home, tmp_path, heap_mb=256, properties=explicit) as kafka:
        broker = Broker(bootstrap=kafka.bootstrap, request_timeout_s=10, session_timeout_s=1)
        await create(kafka.bootstrap, "fine")
        producer = new_producer(broker)
        await producer.start()
        publisher = Publisher(producer, broker, {"fine": 1, "missing": 1})
        delivery = publisher.delivery({"fine": parts, "missing": parts})
        try:
            with pytest.raises(BrokerUnavailable, match="UnknownTopic"):
                await delivery.send()
            assert await read_all(kafka.bootstrap, "fine") == values
            await create(kafka.bootstrap, "missing")
            await delivery.send()
        finally:
            await producer.stop()
        assert await read_all(kafka.bootstrap, "fine") == values
        assert await read_all(kafka.bootstrap, "missing") == values


async def test_a_partitions_batches_arrive_in_order_however_they_are_cut(
    apache_kafka: str,
) -> None:
    broker = Broker(bootstrap=apache_kafka)
    topics = [f"cut-{uuid4().hex[:8]}" for _ in range(2)]
    for topic in topics:
        await create(apache_kafka, topic, max_message_bytes="2000000")
    # More than two record batches hold, in two parts, the first time without known leaders.
    values = [b"%06d" % n * 100 for n in range(3_000)]
    parts = [
        (0, [Record(None, value) for value in some]) for some in (values[:2_000], values[2_000:])
    ]
    producer = new_producer(broker)
    await producer.start()
    publisher = Publisher(producer, broker, dict.fromkeys(topics, 1))
    try:
        for _ in range(2):
            await publisher.publish(dict.fromkeys(topics, parts))
    finally:
        await producer.stop()
    for topic in topics:
        assert await read_all(apache_kafka, topic) == values * 2


async def test_what_has_no_leader_is_left_to_the_producer_in_one_piece(
    apache_kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = f"leaderless-{uuid4().hex[:8]}"
    await create(apache_kafka, topic)
    producer = new_producer(Broker(bootstrap=apache_kafka))
    await producer.start()
    records = [Record(None, b"%06d" % n * 100) for n in range(2_000)]
    halves = [Chunk(topic, 0, records[:1_500]), Chunk(topic, 0, records[1_500:])]
    try:
        cluster = producer.client.cluster
        monkeypatch.setattr(cluster, "leader_for_partition", lambda _: -1)
        left, failures = await send_at_once(producer, halves)
    finally:
        await producer.stop()
    assert left == [Chunk(topic, 0, records)]
    assert failures == []


async def test_a_broken_connection_loses_nothing(apache_kafka: str) -> None:
    broker = Broker(bootstrap=apache_kafka)
    topic = f"broken-{uuid4().hex[:8]}"
    await create(apache_kafka, topic)
    producer = new_producer(broker)
    await producer.start()
    publisher = Publisher(producer, broker, {topic: 1})
    values = [b"%d" % n for n in range(20)]
    try:
        for value in values:
            sending = asyncio.create_task(publisher.publish({topic: [(0, [Record(None, value)])]}))
            await asyncio.sleep(0)  # the request is on its way
            for connection in list(producer.client._conns.values()):
                connection.close()
            await sending
    finally:
        await producer.stop()
    found = await read_all(apache_kafka, topic)
    assert [value for at, value in enumerate(found) if value not in found[:at]] == values


async def test_small_records_pass_where_their_batch_is_too_large(apache_kafka: str) -> None:
    broker = Broker(bootstrap=apache_kafka)
    topic = f"small-{uuid4().hex[:8]}"
    await create(apache_kafka, topic, max_message_bytes="2000")
    producer = new_producer(broker)
    await producer.start()
    publisher = Publisher(producer, broker, {topic: 1})
    values = [bytes([n]) * 600 for n in range(50)]
    try:
        await publisher.publish({topic: [(0, [Record(None, value) for value in values])]})
        with pytest.raises(StreamError, match=rf"{topic}.*5000 bytes.*max\.message\.bytes"):
            await publisher.publish({topic: [(0, [Record(None, b"x" * 5_000)])]})
    finally:
        await producer.stop()
    assert sorted(await read_all(apache_kafka, topic)) == values


async def test_an_alert_that_is_too_large_goes_without_its_event(
    make_stream: MakeStream, apache_kafka: str
) -> None:
    small, large, after = payments(3, accounts=1)
    large["note"] = "n" * 50_000
    stream = make_stream(apache_kafka, topics__partitions=1, model__review_threshold=0.0)
    await create(apache_kafka, stream.settings.topics.alerts, max_message_bytes="20000")
    await stream.produce([sent(event) for event in (small, large, after)])
    stream.worker()
    outputs = await stream.collect(3, alerts=3)
    alerts = {body["event_id"]: body for body in map(orjson.loads, values_of(outputs.alerts))}
    assert alerts.keys() == {event["transaction_id"] for event in (small, large, after)}
    cut = alerts[large["transaction_id"]]
    assert cut["event_too_large"] is True
    assert "event" not in cut
    for event in (small, after):
        assert alerts[event["transaction_id"]]["event"] == event
        assert "event_too_large" not in alerts[event["transaction_id"]]


def values_of(records: list) -> list[bytes]:
    return [record.value for record in records]


async def test_a_record_that_is_refused_for_good_stops_the_worker(
    make_stream: MakeStream, apache_kafka: str
) -> None:
    stream = make_stream(apache_kafka, topics__partitions=1)
    dead = stream.settings.topics.dead_letters
    await create(apache_kafka, dead, max_message_bytes="2000")
    await stream.produce([Sent(b"a", b"x" * 10_000)])
    failed = stream.fails()
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    (line,) = [each for each in failed.stderr.splitlines() if each.startswith("error:")]
    assert dead in line
    assert "max.message.bytes" in line
