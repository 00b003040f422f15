"""What a worker is made of, put together: stores, publisher, and a lane for each topic it reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine.decode import Decoder
from engine.labels import LabelReader
from engine.scorer import Scorer
from streams.alignment import Alignment
from streams.clocks import Clock, Place
from streams.labels import LabelProcessor
from streams.lane import Lane
from streams.log import get_logger
from streams.metrics import Metrics
from streams.outbox.base import Outbox
from streams.processor import Processor
from streams.publisher import Publisher
from streams.retries import Retries
from streams.settings import Settings
from streams.shared import SharedState
from streams.store.base import Store
from streams.stores import Stores

logger = get_logger(__name__)


class Pipeline:
    """See the module's docstring.

    Args:
        settings: the configuration.
        decoder: reads events.
        scorer: the model.
        stores: what is known, and positions.
        publisher: knows Kafka's topics.
        outbox: where results go.
        retries: how steps wait for servers.
        metrics: what is told of it.
        note: what is written beside offsets in Kafka: the states in use.

    Attributes:
        lanes: topic to its lane: events, and labels where the model uses them.
    """

    def __init__(
        self,
        settings: Settings,
        decoder: Decoder,
        scorer: Scorer,
        stores: Stores,
        publisher: Publisher,
        outbox: Outbox,
        retries: Retries,
        metrics: Metrics,
        note: str,
    ) -> None:
        self.scorer = scorer
        self.metrics = metrics
        self.note = note
        self._counts = dict(publisher.partitions)
        self.retries, self.outbox = retries, outbox
        self._stores, self._publisher = stores, publisher
        kinds, topics, aligned = scorer.manifest.shared, settings.topics, settings.alignment
        reader = new_label_reader(settings, decoder, scorer)
        read = [topics.transactions, *([topics.labels] if reader.is_needed else [])]
        self.alignment = Alignment(
            kinds,
            topics.transactions,
            round(aligned.grace_s * 1000),
            aligned.idle_s,
            aligned.stale_s,
            [(topic, at) for topic in read for at in range(publisher.partitions[topic])],
        )
        shared = SharedState(
            decoder.schema,
            kinds,
            stores.shared,
            reader,
            self.retries,
            metrics,
            settings.state.hot_entities,
        )
        events = Processor(
            settings, decoder, scorer, stores.events, shared, outbox, self.retries, metrics
        )
        self.lanes: dict[str, Lane[Any]] = {
            topics.transactions: self._lane(settings, topics.transactions, stores.events, events)
        }
        if reader.is_needed:
            labels = LabelProcessor(
                topics,
                reader,
                stores.labels,
                shared,
                outbox,
                self.retries,
                metrics,
                self._has_lost_writes,
            )
            self.lanes[topics.labels] = self._lane(settings, topics.labels, stores.labels, labels)

    async def _has_lost_writes(self) -> bool:
        return any([await lane.has_lost_writes() for lane in self.lanes.values()])

    async def ping_store(self) -> None:
        """Return if the state store answers. Raises :class:`StoreUnavailable`."""
        await self._stores.events.ping()

    async def ping_broker(self) -> None:
        """Return if Kafka answers. Raises :class:`BrokerUnavailable`."""
        await self._publisher.ping()

    async def share_clocks(self) -> None:
        """Tell other workers how far partitions are, and hear it of theirs.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        news = self.alignment.news()
        said = {_name(place): clock.to_bytes() for place, clock in news.items()}
        found = await self._stores.shared.clocks(said)
        self.alignment.told(news)
        self.alignment.hear({_place(name): Clock.from_bytes(raw) for name, raw in found.items()})

    def tell_more(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Say once where a topic has more partitions than it had."""
        for topic, partition in partitions:
            if partition >= self._counts.get(topic, partition + 1):
                logger.warning(
                    "%s has more partitions than %d: accounts whose key belongs to another "
                    "partition now begin with new states",
                    topic,
                    self._counts[topic],
                )
                self._counts[topic] = partition + 1

    def show_alignment(self) -> None:
        """Put what waits, and how far partitions are ahead, into the metrics."""
        waiting = 0
        for topic, lane in self.lanes.items():
            waiting += len(lane.waiting)
            for partition in lane.owned:
                ahead_ms = self.alignment.ahead_ms((topic, partition))
                self.metrics.ahead.labels(topic, partition).set(ahead_ms / 1000)
        self.metrics.waiting.set(waiting)

    def _lane(self, settings: Settings, topic: str, store: Store, handler: Any) -> Lane[Any]:
        return Lane(topic, store, handler, self.alignment, self.retries, settings.worker.max_batch)


def new_label_reader(settings: Settings, decoder: Decoder, scorer: Scorer) -> LabelReader:
    """Return the reader of a model's labels."""
    events = settings.events
    return LabelReader(
        decoder.schema,
        scorer.manifest.shared,
        events.max_bytes,
        round(events.max_future_s * 1000),
    )


def _name(place: Place) -> str:
    return f"{place[0]}:{place[1]}"


def _place(name: str) -> Place:
    topic, _, partition = name.rpartition(":")
    return topic, int(partition)
