"""A stream of its own for each test: topics, an application id, workers, and what comes out."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from streams.configuration import load_settings
from streams.embedded.worker import EmbeddedWorker, to_toml
from streams.kafka import ensure_topics
from streams.publisher import partition_of
from streams.settings import Guarantee, Settings
from tests.streams.synthetic import Sent

LARGEST = 8_000_000


@dataclass
class Outputs:
    """The records of the output topics."""

    scores: list[ConsumerRecord] = field(default_factory=list)
    alerts: list[ConsumerRecord] = field(default_factory=list)
    dead_letters: list[ConsumerRecord] = field(default_factory=list)
    _answers: set[tuple[object, ...]] = field(default_factory=set)

    @property
    def answered(self) -> int:
        """How many events have an answer; one that was answered twice counts once."""
        return len(self._answers)

    def add(self, topic: str, records: Iterable[ConsumerRecord]) -> None:
        """Take records of ``scores``, ``alerts`` or ``dead_letters``."""
        for record in records:
            getattr(self, topic).append(record)
            if topic != "alerts":
                self._answers.add(_answer(topic, record))

    def by_event(self) -> dict[str, dict[str, Any]]:
        """The first score of each event."""
        found: dict[str, dict[str, Any]] = {}
        for record in self.scores:
            body = orjson.loads(record.value)
            found.setdefault(body["event_id"], body)
        return found


def headers(record: ConsumerRecord) -> dict[str, str]:
    """A record's headers as text."""
    return {name: value.decode() for name, value in record.headers}


class Stream:
    """Topics and workers of one test. Use it in a ``with`` block."""

    def __init__(
        self, directory: Path, bootstrap: str, redis_url: str, bundle: Path, **settings: Any
    ) -> None:
        self.directory = directory
        self.name = f"t{uuid4().hex[:8]}"
        self.values: dict[str, Any] = {
            "app.id": self.name,
            "broker.bootstrap": bootstrap,
            "broker.session_timeout_s": 6.0,
            "broker.fetch_wait_ms": 20,
            "topics.transactions": f"{self.name}-transactions",
            "topics.labels": f"{self.name}-labels",
            "topics.scores": f"{self.name}-scores",
            "topics.alerts": f"{self.name}-alerts",
            "topics.dead_letters": f"{self.name}-dead",
            "topics.max_message_bytes": LARGEST,
            "state.url": redis_url,
            "model.bundle": str(bundle.absolute()),
            **{name.replace("__", ".", 1): value for name, value in settings.items()},
        }
        self.settings: Settings = load_settings(None, self.values)
        self._workers = ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.close()

    @property
    def is_exact(self) -> bool:
        """Whether each result is to be seen once."""
        return self.settings.app.guarantee is Guarantee.EXACTLY_ONCE

    def worker(self, **settings: Any) -> EmbeddedWorker:
        """Start one more worker, and return it once it has partitions."""
        self._count += 1
        changed = {name.replace("__", "."): value for name, value in settings.items()}
        worker = EmbeddedWorker(
            self.directory, {**self.values, **changed}, name=f"worker-{self._count}"
        )
        return self._workers.enter_context(worker)

    def write_config(self, name: str, changed: Mapping[str, Any]) -> Path:
        """Write a worker's configuration, with dotted settings changed, and return the file."""
        config = self.directory / f"{name}.toml"
        config.write_text(to_toml({**self.values, **changed}), encoding="utf-8")
        return config

    def spare(self) -> EmbeddedWorker:
        """Start one more worker than there are partitions, and return it once it is ready."""
        self._count += 1
        worker = _Spare(self.directory, self.values, name=f"worker-{self._count}")
        return self._workers.enter_context(worker)

    def begun(self) -> EmbeddedWorker:
        """Start one more worker, and return it once its pages answer, ready or not."""
        self._count += 1
        worker = _Begun(self.directory, self.values, name=f"worker-{self._count}")
        return self._workers.enter_context(worker)

    def fails(self, **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run a worker that is to end by itself, and return what it said."""
        changed = {name.replace("__", "."): value for name, value in settings.items()}
        config = self.write_config("fails", {"worker.web_port": 0, **changed})
        return subprocess.run(
            [sys.executable, "-m", "riskstream", "worker", "--config", str(config)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    async def produce(self, records: Sequence[Sent], topic: str | None = None) -> None:
        """Send records to a topic, of events if not said, where Kafka's partitioner puts them."""
        topic = topic or self.settings.topics.transactions
        partitions = (await ensure_topics(self.settings))[topic]
        producer = AIOKafkaProducer(
            bootstrap_servers=self.settings.broker.bootstrap,
            acks="all",
            linger_ms=5,
            max_batch_size=262_144,
            max_request_size=LARGEST,
        )
        await producer.start()
        try:
            pending = [
                await producer.send(
                    topic,
                    value=record.value,
                    key=record.key,
                    partition=partition_of(record.key or b"", partitions),
                )
                for record in records
            ]
            await asyncio.gather(*pending)
        finally:
            await producer.stop()

    async def scores(self, events: int, deadline_s: float = 120.0) -> dict[str, float]:
        """Read scores until so many different events have one, and return each event's first.

        After a crash or a rebalance events are scored again, under the same ids.
        """
        found: dict[str, float] = {}
        end = time.monotonic() + deadline_s
        async with self.reader() as (consumer, lists):
            while len(found) < events:
                for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                    if lists[tp.topic] == "scores":
                        for body in (orjson.loads(record.value) for record in records):
                            found.setdefault(body["event_id"], body["score"])
                if time.monotonic() > end:
                    raise TimeoutError(f"{len(found)} of {events} events scored; {self.log_tail()}")
        return found

    async def collect(self, answers: int, deadline_s: float = 120.0, alerts: int = 0) -> Outputs:
        """Read the output topics from their beginnings until so many events have an answer.

        Args:
            answers: how many events.
            deadline_s: for how long to wait for them.
            alerts: wait for so many alerts too.
        """
        outputs = Outputs()
        end = time.monotonic() + deadline_s
        async with self.reader() as (consumer, lists):
            while outputs.answered < answers or len(outputs.alerts) < alerts:
                for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                    outputs.add(lists[tp.topic], records)
                if time.monotonic() > end:
                    raise TimeoutError(
                        f"{outputs.answered} of {answers} events answered; {self.log_tail()}"
                    )
            # What was published beside the last answers: alerts, or more than was expected.
            while (found := await consumer.getmany(timeout_ms=500)) and time.monotonic() < end:
                for tp, records in found.items():
                    outputs.add(lists[tp.topic], records)
        return outputs

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[tuple[AIOKafkaConsumer, dict[str, str]]]:
        """A consumer of all output topics, and which list each topic's records belong to."""
        topics = self.settings.topics
        lists = {
            topics.scores: "scores",
            topics.alerts: "alerts",
            topics.dead_letters: "dead_letters",
        }
        partitions = await ensure_topics(self.settings)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.broker.bootstrap,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=20,
            max_partition_fetch_bytes=LARGEST,
            isolation_level="read_committed" if self.is_exact else "read_uncommitted",
        )
        await consumer.start()
        try:
            consumer.assign(
                [TopicPartition(name, at) for name in lists for at in range(partitions[name])]
            )
            yield consumer, lists
        finally:
            await consumer.stop()

    def log_tail(self) -> str:
        """The last lines of the workers' logs."""
        return "\n".join(_tail(path) for path in sorted(self.directory.glob("worker-*.log")))


def _answer(topic: str, record: ConsumerRecord) -> tuple[object, ...]:
    """What is the same wherever an event is answered again; a dead letter in parts is one."""
    if topic == "scores":
        body = orjson.loads(record.value)
        # An event that was sent again has an answer each time, which says so.
        return (record.partition, record.offset) if body["duplicate"] else (body["score_id"],)
    about = headers(record)
    return about["topic"], about["partition"], about["offset"]


class _Spare(EmbeddedWorker):
    """A worker that is ready without partitions too."""

    def is_ready(self) -> bool:
        """See `EmbeddedServer.is_ready`."""
        return self.get("/readyz") is not None


class _Begun(EmbeddedWorker):
    """A worker that may never be ready."""

    def is_ready(self) -> bool:
        """See `EmbeddedServer.is_ready`."""
        return self.get("/healthz") is not None


def _tail(path: Path) -> str:
    lines: Iterable[str] = path.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
    return f"{path.name}:\n" + "\n".join(lines)
