"""Topics of one test's own: a configuration that names them, and what stands in them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from streams.configuration import load_settings
from streams.embedded.worker import to_toml
from streams.kafka import ensure_topics
from streams.settings import Settings


def write_config(folder: Path, bootstrap: str) -> Path:
    """Write a configuration with topics that no other test has."""
    name = f"t{uuid4().hex[:8]}"
    topics = ("transactions", "labels", "scores", "alerts", "dead_letters")
    values = {
        "app.id": name,
        "broker.bootstrap": bootstrap,
        "broker.session_timeout_s": 6.0,
        "broker.fetch_wait_ms": 20,
        **{f"topics.{each}": f"{name}-{each}" for each in topics},
    }
    path = folder / "riskstream.toml"
    path.write_text(to_toml(values), encoding="utf-8")
    return path


def read_all(config: Path, topic: str = "transactions") -> list[ConsumerRecord]:
    """Return what a topic holds, in the order of partition and offset."""
    settings = load_settings(config)
    return asyncio.run(_read_all(settings, getattr(settings.topics, topic)))


def publish_alerts(
    config: Path, values: Sequence[bytes], places: Sequence[tuple[int, int | None]] = ()
) -> None:
    """Publish records to the alerts topic, one after the other.

    Args:
        config: names the topic.
        values: the records.
        places: the partition and the time of each, in ms since 1970; by default they go to the
            first partition, at the time that it is.
    """
    given = places or [(0, None)] * len(values)
    asyncio.run(_publish(load_settings(config), values, given))


async def _read_all(settings: Settings, topic: str) -> list[ConsumerRecord]:
    count = (await ensure_topics(settings))[topic]
    partitions = [TopicPartition(topic, at) for at in range(count)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.broker.bootstrap,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=20,
    )
    await consumer.start()
    try:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        records: list[ConsumerRecord] = []
        while len(records) < sum(ends.values()):
            for found in (await consumer.getmany(timeout_ms=100)).values():
                records += found
    finally:
        await consumer.stop()
    return sorted(records, key=lambda record: (record.partition, record.offset))


async def _publish(
    settings: Settings, values: Sequence[bytes], places: Sequence[tuple[int, int | None]]
) -> None:
    await ensure_topics(settings)
    producer = AIOKafkaProducer(bootstrap_servers=settings.broker.bootstrap, acks="all")
    await producer.start()
    try:
        for value, (partition, timestamp_ms) in zip(values, places, strict=True):
            await producer.send_and_wait(
                settings.topics.alerts, value, partition=partition, timestamp_ms=timestamp_ms
            )
    finally:
        await producer.stop()
