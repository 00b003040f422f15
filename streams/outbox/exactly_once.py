"""Exactly once: results and offsets in one Kafka transaction for each partition of a batch.

What comes of records before the offset that Kafka holds has been published. They are scored again
where the state store is behind, to rebuild the states, and published not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streams.committed import committed
from streams.delivery import Shrink, unavailable
from streams.kafka import new_transactional_producer
from streams.outbox.base import Results
from streams.outbox.transactions import Outlet, Taken
from streams.publisher import Publisher
from streams.retries import Retries
from streams.settings import Settings


class ExactlyOnce:
    """See the module's docstring, and :class:`streams.outbox.base.Outbox`.

    Args:
        settings: the configuration.
        publisher: knows the topics' partitions.
        shrink: for a topic, what to send in the place of a record that is too large for it.
        retries: how steps wait for servers.
        note: what is written beside offsets.
    """

    tells_offsets = True

    def __init__(
        self,
        settings: Settings,
        publisher: Publisher,
        shrink: Mapping[str, Shrink],
        retries: Retries,
        note: str,
    ) -> None:
        self._broker = settings.broker
        self._group = settings.app.id
        self._publisher = publisher
        self._shrink = shrink
        self._retries = retries
        self._note = note
        self._outlets: dict[tuple[str, int], Outlet] = {}
        self._left: set[asyncio.Future[None]] = set()

    async def own(self, topic: str, partitions: Iterable[int]) -> None:
        """See `Outbox.own`."""
        taken = {}
        for partition in partitions:
            self._leave(self._outlets.pop((topic, partition), None))
            taken[topic, partition] = self._outlet(topic, partition)
        try:
            await asyncio.gather(*(self._fence(outlet) for outlet in taken.values()))
            found = await self._retries.until_done("read", lambda: self._committed(taken))
        except BaseException:
            for outlet in taken.values():
                self._leave(outlet)
            raise
        for place, outlet in taken.items():
            outlet.published = found[place]
        self._outlets |= taken

    def published(self, topic: str, partition: int) -> int:
        """See `Outbox.published`."""
        outlet = self._outlets.get((topic, partition))
        return outlet.published if outlet else 0

    async def publish(self, topic: str, positions: Mapping[int, int], results: Results) -> set[int]:
        """See `Outbox.publish`."""
        outlets = {each: self._outlets.get((topic, each)) for each in positions}
        tasks = {
            each: asyncio.ensure_future(
                outlet.publish(
                    self._publisher.chunks(results.of(each)),
                    positions[each],
                    self._broker.request_timeout_s,
                )
            )
            for each, outlet in outlets.items()
            if outlet is not None
        }

        async def done() -> None:
            if not tasks:
                return
            # Those that failed for good are told below.
            _, waiting = await asyncio.wait(tasks.values(), timeout=self._patience_s)
            if waiting:
                found = [each.trouble for each in outlets.values() if each and each.trouble]
                raise unavailable(self._broker, found[0] if found else TimeoutError())

        try:
            await self._retries.until_done("publish", done)
        finally:
            for task in tasks.values():
                task.cancel()
        answers = await asyncio.gather(*tasks.values(), return_exceptions=True)
        taken = {each for each, outlet in outlets.items() if outlet is None}
        for each, answer in zip(tasks, answers, strict=True):
            if isinstance(answer, Taken):
                taken.add(each)
            elif answer is not None:
                raise answer
        return taken

    def leave(self) -> None:
        """See `Outbox.leave`."""
        for outlet in self._outlets.values():
            self._leave(outlet)
        self._outlets.clear()

    async def close(self) -> None:
        """See `Outbox.close`."""
        self.leave()
        await asyncio.gather(*self._left, return_exceptions=True)

    @property
    def _patience_s(self) -> float:
        """How long transactions may take before the log says that Kafka does not answer."""
        return min(self._broker.request_timeout_s, self._broker.session_timeout_s) / 2

    def _outlet(self, topic: str, partition: int) -> Outlet:
        def new_producer() -> AIOKafkaProducer:
            name = f"{self._group}-{topic}-{partition}"
            return new_transactional_producer(self._broker, name)

        async def read_offset() -> int:
            place = (topic, partition)
            return (await self._committed([place]))[place]

        tp = TopicPartition(topic, partition)
        return Outlet(tp, self._group, self._note, new_producer, read_offset, self._shrink)

    async def _fence(self, outlet: Outlet) -> None:
        async def fenced() -> None:
            try:
                await outlet.fence(self._broker.request_timeout_s)
            except (KafkaError, OSError, TimeoutError) as error:
                raise unavailable(self._broker, error) from None

        await self._retries.until_done("publish", fenced)

    async def _committed(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        asked = list(places)
        found = await committed(self._broker, self._group, asked)
        return {place: found[place].offset if place in found else 0 for place in asked}

    def _leave(self, outlet: Outlet | None) -> None:
        if outlet is None:
            return
        outlet.give_up()
        task = asyncio.ensure_future(outlet.closed())
        self._left.add(task)
        task.add_done_callback(self._left.discard)
