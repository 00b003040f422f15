"""Faust's consumer "thread" without a thread: Kafka's client runs in the worker's own loop.

In a thread of its own, the client and the worker hand every poll over between two loops and wait
for each other's turn at the interpreter, up to 5 ms each time. A worker never holds up its loop for
longer than a batch takes to be scored, far below any session timeout, so that heartbeats need no
thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Set
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import ConsumerStoppedError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from mode.services import Service
from mode.utils.futures import maybe_async

from streams.fetching import fetched


class LoopConsumer(driver.AIOKafkaConsumerThread):
    """See the module's docstring. How it fetches are settings of the application."""

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, thread_loop=consumer.loop, **options)

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

    def hold(self) -> None:
        """Send no fetch until :meth:`fetch`; every partition must have been read to what is here.

        The client fetches ahead, and what it has then is what the next poll brings: the first few
        records that came, while more do. Fetched when it is polled, a stream that is calm comes in
        fewer and larger batches, each a fetch.
        """
        consumer = self._ensure_consumer()
        consumer.pause(*consumer.assignment())

    def fetch(self) -> None:
        """Send fetches again."""
        consumer = self._ensure_consumer()
        consumer.resume(*consumer.paused())

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = getattr(self.app, "fetch_max_wait_ms", 500)
        if getattr(self.app, "reads_committed", False):
            consumer._isolation_level = "read_committed"
        note: str = getattr(self.app, "commit_note", "")
        if note:
            consumer.commit = _noting(consumer.commit, note)
        return consumer

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: Set[TopicPartition],
        timeout: float | None = None,  # noqa: ASYNC109
        max_records: int | None = None,
    ) -> Any:
        """Return a mapping of partitions to :class:`streams.consumed.Consumed`."""
        if not self.consumer.flow_active:
            return {}
        fetcher: Any = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        with fetcher._subscriptions.fetch_context():
            return await fetched(fetcher, active_partitions, timeout or 0.0, max_records)

    def _stopped_set(self) -> None:
        self._stopped.set()

    async def _stop_children(self) -> None:
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
