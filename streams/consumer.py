"""Faust's consumer "thread" without a thread: Kafka's client runs in the worker's own loop.

In a thread of its own, the client and the worker hand every poll over between two loops and wait
for each other's turn at the interpreter, up to 5 ms each time. A worker never holds up its loop for
longer than a batch takes to be scored, far below any session timeout, so that heartbeats need no
thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Set
from typing import Any, cast

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import ConsumerStoppedError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from mode.services import Service
from mode.utils.futures import maybe_async

from streams.consumed import Consumed
from streams.fetching import Fetching


class LoopConsumer(driver.AIOKafkaConsumerThread):
    """See the module's docstring. How it fetches are settings of the application."""

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, thread_loop=consumer.loop, **options)
        self._fetching: Fetching | None = None

    async def start(self) -> None:
        """Start in the loop of the caller."""
        self._thread_started.set()
        await self._default_start()

    async def stop(self) -> None:
        """Stop: leave the group and close the client."""
        if self._started.is_set():
            await Service.stop(self)

    async def crash(self, reason: BaseException) -> None:
        """Have the whole worker stop with an error."""
        await Service.crash(self, reason)

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call what elsewhere is called in the thread."""
        return await maybe_async(fun(*args, **kwargs))

    async def records(
        self,
        partitions: Set[TopicPartition],
        timeout: float,  # noqa: ASYNC109
    ) -> dict[TopicPartition, Consumed]:
        """Return what there is of partitions; wait for it where there is nothing.

        Raises:
            KafkaError: what the client tells of a partition, or of the group.
        """
        if not self.consumer.flow_active:
            return {}
        consumer = cast(Any, self._ensure_consumer())
        if consumer._closed or consumer._fetcher._closed:
            raise ConsumerStoppedError
        if self._fetching is None:
            self._fetching = Fetching(consumer)
        with consumer._subscription.fetch_context():
            return await self._fetching.records(partitions, timeout, consumer._max_poll_records)

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = getattr(self.app, "fetch_max_wait_ms", 500)
        if getattr(self.app, "reads_committed", False):
            consumer._isolation_level = "read_committed"
        note: str = getattr(self.app, "commit_note", "")
        if note:
            consumer.commit = _noting(consumer.commit, note)
        return consumer

    def _stopped_set(self) -> None:
        self._stopped.set()

    async def _stop_children(self) -> None:
        if self._fetching is not None:
            await self._fetching.close()
        await self.on_thread_stop()
        await self._default_stop_children()
        self._shutdown.set()

    async def _stop_futures(self) -> None:
        await self._default_stop_futures()

    async def _stop_exit_stacks(self) -> None:
        await self._default_stop_exit_stacks()


def _noting(
    commit: Callable[[Mapping[Any, Any]], Awaitable[None]], note: str
) -> Callable[[Mapping[Any, Any]], Awaitable[None]]:
    """Return a commit that writes a note beside each offset."""

    async def noting(offsets: Mapping[Any, Any]) -> None:
        noted = {tp: OffsetAndMetadata(each.offset, note) for tp, each in offsets.items()}
        await commit(noted)

    return noting
