"""A stream that is disturbed: servers, two workers, load, what comes out, and the truth."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from engine.bundle import Bundle
from models.packs.registry import pack_folder
from streams.embedded.kafka import ApacheKafka, KafkaCluster
from streams.embedded.processes import HOST
from streams.embedded.valkey import EmbeddedValkey
from streams.embedded.worker import EmbeddedWorker
from streams.kafka import ensure_topics
from streams.publisher import partition_of
from tests.chaos.history import History, Piece, Truth, truth_of
from tests.chaos.observer import Observer
from tests.chaos.proxy import SlowProxy
from tests.streams.harness import LARGEST, Stream
from tests.streams.synthetic import Sent
from tests.waiting import wait_for_async

SESSION_S = 6.0


class Worker(EmbeddedWorker):
    """A worker that is not waited for: it may be struck while it starts."""

    stop_within_s = 30.0

    def is_ready(self) -> bool:
        """See `EmbeddedServer.is_ready`."""
        return True

    @property
    def partitions(self) -> list[int]:
        """The partitions of events that it has; none where it does not say."""
        page = self.get("/readyz")
        return list(orjson.loads(page)["broker"].get("partitions", [])) if page else []

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self.pid is not None:
            os.kill(self.pid, number)


@dataclass(frozen=True)
class Plan:
    """What a scenario is to be run with.

    Args:
        seed: decides everything that is left to chance.
        guarantee: at_least_once or exactly_once.
        events: how many.
        accounts: how many.
        strikes: how often a worker is struck, where workers are.
        partitions: of each topic.
    """

    seed: int
    guarantee: str
    events: int
    accounts: int
    strikes: int = 10
    partitions: int = 6


@dataclass
class World:
    """See the module's docstring. Use it in an ``async with`` block.

    Args:
        plan: what to run.
        directory: for files of all kinds.
        kafka: a running Apache Kafka, one node or a cluster.
        store: a running Valkey.
        proxy: between the workers and the store; None where there is none.
        settings: the workers' settings, over those of a test's stream.
        note_bytes: how much each event carries that no model reads.
        facts: what a scenario found out, for its line.
    """

    plan: Plan
    directory: Path
    kafka: ApacheKafka | KafkaCluster
    store: EmbeddedValkey
    proxy: SlowProxy | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    note_bytes: int = 0
    facts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        folder = pack_folder("fraud") / "bundle"
        self.rng = random.Random(self.plan.seed)
        self.bundle = Bundle.load(folder)
        self.history = History(
            self.plan.events, self.plan.accounts, self.plan.seed, self.note_bytes
        )
        self.stream = Stream(
            self.directory,
            self.kafka.bootstrap,
            f"redis://{HOST}:{self.proxy.port}/0" if self.proxy else self.store.url,
            folder,
            **{
                "topics__partitions": self.plan.partitions,
                "app__guarantee": self.plan.guarantee,
                # A busy machine may take its time between two polls.
                "alignment__idle_s": 5.0,
                "broker__session_timeout_s": SESSION_S,
                **self.settings,
            },
        )
        self.observer = Observer(self.stream)
        self.workers: list[Worker] = []
        self.fed = 0
        self.sent = {"events": 0, "labels": 0}
        self._truth: asyncio.Future[Truth] | None = None
        self._count = 0

    async def __aenter__(self) -> Self:
        self._truth = asyncio.ensure_future(asyncio.to_thread(truth_of, self.bundle, self.history))
        self.partitions = await ensure_topics(self.stream.settings)
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self.kafka.bootstrap,
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            max_batch_size=262_144,
            max_request_size=LARGEST,
        )
        await self._producer.start()
        await self.observer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
            worker.kill()
        await self.observer.stop()
        await self._producer.stop()
        if self._truth is not None:
            await asyncio.gather(self._truth, return_exceptions=True)

    async def truth(self) -> Truth:
        """What the core says of the history."""
        assert self._truth is not None
        return await self._truth

    def start_worker(self) -> Worker:
        """Start one more worker, and do not wait for it."""
        self._count += 1
        worker = Worker(self.directory, self.stream.values, name=f"worker-{self._count}")
        worker.start()
        self.workers.append(worker)
        return worker

    async def ready(self, worker: Worker, within_s: float = 90.0) -> None:
        """Wait until a worker has partitions."""
        end = time.monotonic() + within_s
        while not await asyncio.to_thread(lambda: worker.partitions):
            if time.monotonic() > end:
                raise TimeoutError(f"{worker.name} has no partitions; {worker.log_tail()}")
            await asyncio.sleep(0.1)

    async def two_workers(self) -> None:
        """Start two workers and wait until they share the partitions."""
        self.start_worker()
        self.start_worker()
        await self.shared()

    async def shared(self) -> None:
        """Wait until the two workers share the partitions."""
        end = time.monotonic() + 120
        while True:
            owned = [await asyncio.to_thread(lambda w=w: w.partitions) for w in self.workers]
            if all(owned) and sum(map(len, owned)) == self.plan.partitions:
                return
            if time.monotonic() > end:
                raise TimeoutError(f"the workers share {owned}; {self.stream.log_tail()}")
            await asyncio.sleep(0.1)

    async def feed(self, piece: Piece) -> None:
        """Publish a piece of the history: of each step the labels, then the events."""
        topics = self.stream.settings.topics
        for step in piece.steps:
            await self._send(topics.labels, step.labels)
            await self._send(topics.transactions, step.events)
            self.fed += len(step.events)
            self.sent["events"] += len(step.events)
            self.sent["labels"] += len(step.labels)

    async def scored(self, share: float = 1.0, within_s: float = 120.0) -> None:
        """Wait until a share of what was fed last, or all that was fed, is scored."""
        await self.observer.until(round(self.fed * share), within_s)

    @property
    def cluster(self) -> KafkaCluster:
        """The cluster of a scenario that has one."""
        assert isinstance(self.kafka, KafkaCluster)
        return self.kafka

    @property
    def node(self) -> ApacheKafka:
        """The broker of a scenario that has one."""
        assert isinstance(self.kafka, ApacheKafka)
        return self.kafka

    async def knows(self, topic: str, partitions: int) -> None:
        """Use more partitions of a topic from now on, once its producer sees them."""

        async def sees() -> bool:
            await self._producer.client.force_metadata_update()
            return len(await self._producer.partitions_for(topic)) == partitions

        await wait_for_async(sees, 30, f"{partitions} partitions of {topic}")
        self.partitions[topic] = partitions

    async def end_of(self, tp: TopicPartition) -> int:
        """The offset that a partition's next record gets."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap)
        await consumer.start()
        try:
            return int((await consumer.end_offsets([tp]))[tp])
        finally:
            await consumer.stop()

    def log_lines(self, words: str) -> list[str]:
        """The lines of all workers' logs that hold some words."""
        return [
            line
            for path in sorted(self.directory.glob("worker-*.log"))
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
            if words in line
        ]

    async def _send(self, topic: str, records: list[Sent]) -> None:
        n = self.partitions[topic]
        pending = [
            await self._producer.send(
                topic, each.value, each.key, partition=partition_of(each.key or b"", n)
            )
            for each in records
        ]
        await asyncio.gather(*pending)
