"""The worker's Faust app: one agent takes polls through the processor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, cast

import faust
from faust.serializers.codecs import Codec
from faust.types import TP, EventT, StreamT
from faust.types.auth import CredentialsT

from engine.errors import BrokerUnavailable, ConfigError, StreamError
from engine.scorer import Scorer
from streams.kafka import ssl_context
from streams.log import get_logger
from streams.metrics import Metrics
from streams.processor import Outcome, Processor
from streams.ranges import start_at, turned_back
from streams.retries import Interrupted
from streams.settings import Broker, Settings
from streams.transport import BatchConsumer, Poll
from streams.web import add_pages

logger = get_logger(__name__)

_WATCH_EVERY_S = 1.0


class RiskApp(faust.App):
    """A Faust app that keeps its positions in the state store.

    Args:
        settings: the configuration.
        scorer: the model, for ``/readyz``.
        processor: takes the polls; its connections are open.
        metrics: what is shown at ``/metrics``.
        exact_ends: whether the broker's end offsets can be believed.
    """

    def __init__(
        self,
        settings: Settings,
        scorer: Scorer,
        processor: Processor,
        metrics: Metrics,
        *,
        exact_ends: bool,
    ) -> None:
        self.settings = settings
        self.scorer = scorer
        self.processor = processor
        self.metrics = metrics
        self.exact_ends = exact_ends
        self.failed = asyncio.Event()
        self.error: BaseException | None = None
        self.fetch_max_wait_ms = settings.broker.fetch_wait_ms
        self.has_been_assigned = False
        self.fenced: dict[int, float] = {}
        super().__init__(settings.app.id, **_options(settings))
        self.in_worker = True
        topic = self.topic(
            settings.topics.transactions, value_serializer=cast(Any, _AsIs()), partitions=None
        )
        self.agent(topic, name="score")(self._score)
        self.task(self._watch)
        add_pages(self)

    @property
    def batches(self) -> BatchConsumer:
        """The consumer, as the batch transport's."""
        return cast(BatchConsumer, self.consumer)

    def fail(self, error: BaseException) -> None:
        """Have the worker stop with an error."""
        self.error = self.error or error
        self.failed.set()

    async def positions(self, partitions: Iterable[TP]) -> Mapping[TP, int]:
        """Tell the consumer where its partitions go on, on every assignment."""
        self.fenced.clear()
        self.metrics.forget_partitions()
        self.processor.leave_all()
        self.processor.retries.allow()
        wanted = {tp.partition: tp for tp in partitions}
        found, starts = await self._look_up(wanted)
        self.processor.own(found)
        if wanted.keys() - found.keys():
            return {}
        self.has_been_assigned = True
        return starts

    async def on_break(self, partition: TP, expected: int, found: int) -> bool:
        """Take records after those that Kafka deleted; stop at records from before the position."""
        if found < expected:
            self.fail(turned_back(partition.topic, partition.partition, expected, found))
            return False
        try:
            held = await self.batches.held([partition], self.exact_ends)
        except BrokerUnavailable:
            self.batches.rewind(partition, expected)
            return False
        self._tell_lost(partition, min(held[partition].beginning, found) - expected)
        return True

    async def _look_up(
        self, wanted: Mapping[int, TP]
    ) -> tuple[dict[int, int | None], dict[TP, int]]:
        """Return stored positions and where to go on; nothing where the worker is to stop."""
        try:
            found = await self.processor.positions(wanted)
            return found, await self._starts({wanted[each]: at for each, at in found.items()})
        except Interrupted as error:
            logger.warning("%s", error)
        except StreamError as error:
            self.fail(error)
        return {}, {}

    async def _starts(self, found: Mapping[TP, int | None]) -> dict[TP, int]:
        held = await self.processor.retries.until_done(
            "read", lambda: self.batches.held(found, self.exact_ends)
        )
        starts = {}
        for tp, position in sorted(found.items()):
            start = start_at(tp.topic, tp.partition, position, held[tp])
            self._tell_lost(tp, start.lost)
            logger.info("partition %d goes on at offset %d", tp.partition, start.offset)
            starts[tp] = start.offset
        return starts

    def _tell_lost(self, tp: TP, lost: int) -> None:
        if lost <= 0:
            return
        self.metrics.lost.labels(tp.partition).inc(lost)
        logger.error(
            "%d events of partition %d of %s were deleted before they were scored",
            lost,
            tp.partition,
            tp.topic,
        )

    def before_revoked(self) -> None:
        """Let a batch that waits for a server go, since its partitions leave."""
        self.processor.retries.interrupt()

    async def on_stop(self) -> None:
        """Finish the batch at hand, or give it up where it waits for a server that is away."""
        self.processor.retries.interrupt()
        await super().on_stop()

    async def _score(self, stream: StreamT[Poll]) -> None:
        async for event in cast(Any, stream).noack().events():
            await self._process(stream, event)

    async def _process(self, stream: StreamT[Poll], event: EventT[Poll]) -> None:
        poll = cast(Poll, event.value)
        try:
            outcome = await self.processor.process(poll, lambda each: self._is_left(poll, each))
            poll.processed |= outcome.done
            await self._follow(poll.topic, outcome)
        except Interrupted as error:
            logger.warning("%s", error)
        except Exception as error:  # whatever it is, the worker stops rather than skip events
            self.fail(error)
        finally:
            await stream.ack(event)

    def _is_left(self, poll: Poll, partition: int) -> bool:
        """Whether a partition of a poll is another worker's, or is about to be read again."""
        epoch = self.batches.epochs[TP(poll.topic, partition)]
        return partition in self.fenced or poll.epochs[partition] != epoch

    async def _follow(self, topic: str, outcome: Outcome) -> None:
        for partition in outcome.fenced:
            self.fenced[partition] = time.monotonic()
            self.batches.pause_partitions([TP(topic, partition)])
        for partition, position in outcome.rewind.items():
            tp = TP(topic, partition)
            self.batches.rewind(tp, (await self._starts({tp: position}))[tp])
            self.processor.own({partition: position})

    async def _watch(self) -> None:
        while not self.should_stop:
            await self.sleep(_WATCH_EVERY_S)
            self._measure_lag()
            await self._take_back()

    def _measure_lag(self) -> None:
        for tp in self.batches.assignment():
            end = self.batches.highwater(tp)
            position = self.processor.stored(tp.partition) or self.batches.starts.get(tp)
            if end is not None and position is not None:
                self.metrics.lag.labels(tp.partition).set(max(end - position, 0))

    async def _take_back(self) -> None:
        """Go on with partitions that another worker wrote to and that are still assigned here.

        The other has had the session timeout to take them over, or to be told that it lost them.
        """
        due = time.monotonic() - self.settings.broker.session_timeout_s
        waited = {partition for partition, since in self.fenced.items() if since <= due}
        wanted = {tp.partition: tp for tp in self.batches.assignment() if tp.partition in waited}
        if not wanted:
            return
        found, starts = await self._look_up(wanted)
        # A rebalance meanwhile has read the positions already.
        for partition in self.fenced.keys() & found.keys():
            self.processor.own({partition: found[partition]})
            self.batches.rewind(wanted[partition], starts[wanted[partition]])
            self.batches.resume_partitions([wanted[partition]])
            del self.fenced[partition]

    def _create_directories(self) -> None:
        """Do nothing: there are no tables, so there is nothing to keep on disk."""


class _AsIs(Codec):
    """The codec of polls, which are values already."""

    def _loads(self, s: Any) -> Any:
        return s


def _options(settings: Settings) -> dict[str, Any]:
    broker, worker = settings.broker, settings.worker
    return {
        "broker": ";".join(f"riskstream://{each}" for each in broker.bootstrap.split(",")),
        "broker_credentials": _credentials(broker),
        "broker_session_timeout": broker.session_timeout_s,
        "broker_heartbeat_interval": broker.session_timeout_s / 4,
        "broker_request_timeout": broker.request_timeout_s,
        "broker_commit_interval": worker.commit_interval_s,
        "broker_max_poll_records": worker.max_batch,
        "broker_max_poll_interval": 3600.0,
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": 4_194_304,
        # One poll waits while another is scored: what is held in memory is bounded by these.
        "stream_buffer_maxsize": 1,
        "stream_wait_empty": True,
        "store": "memory://",
        "topic_disable_leader": True,
        "topic_allow_declare": False,
        "web_enabled": worker.web_port != 0,
        "web_bind": worker.web_host,
        "web_port": worker.web_port or None,
        "autodiscover": False,
    }


def _credentials(broker: Broker) -> CredentialsT | None:
    context = ssl_context(broker)
    if broker.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=broker.sasl_username,
            password=broker.sasl_password.get_secret_value(),
            mechanism=broker.sasl_mechanism,
            ssl_context=context,
        )
    if broker.security_protocol == "SSL":
        if context is None:
            raise ConfigError("broker.security_protocol = SSL must have an SSL context")
        return faust.SSLCredentials(context=context)
    return None
