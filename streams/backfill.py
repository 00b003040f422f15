"""Loading what a history amounts to into the state store, beside what is in use, and switching.

The content is computed by the core; here it is cut into pieces, written under the names of a new
generation, and the positions after it: where the stream goes on once the history is known. A
backfill that was interrupted goes on with the first piece that was not written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay
from tenacity.wait import wait_exponential

from engine.errors import StreamError
from engine.manifest import Manifest
from streams.delivery import unavailable
from streams.kafka import client_options, ensure_topics, start_client, tells_ends
from streams.publisher import partition_of
from streams.settings import Settings
from streams.store.base import PartitionWrite, Store
from streams.store.generations import Generations
from streams.stores import Stores, new_generations, new_stores, reach_store

_K = TypeVar("_K")

#: So many things are loaded at once.
_PIECE = 2_000

#: Topic to partition to an offset.
Positions = dict[str, dict[int, int]]


class GoOn(StrEnum):
    """Where the stream goes on after a backfill."""

    TIME = "time"  # with the first record published after the history's last event
    BEGINNING = "beginning"
    END = "end"


@dataclass(frozen=True, slots=True)
class Content:
    """What a history amounts to.

    Args:
        states: account to encoded state.
        rings: kind of shared entity to hash to encoded ring.
        entries: event hash to what labels will need of it.
    """

    states: Mapping[str, bytes] = field(default_factory=dict)
    rings: Mapping[str, Mapping[int, bytes]] = field(default_factory=dict)
    entries: Mapping[int, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.states) + sum(map(len, self.rings.values())) + len(self.entries)

    def pieces(self) -> Iterator[Content]:
        """Yield the content piece by piece, always the same for the same content."""
        for states in _cut(self.states):
            yield Content(states=states)
        for kind, rings in self.rings.items():
            for some in _cut(rings):
                yield Content(rings={kind: some})
        for entries in _cut(self.entries):
            yield Content(entries=entries)


@dataclass(frozen=True, slots=True)
class Source:
    """Where content came from.

    Args:
        digest: of the history and of all that decides what comes of it.
        until_ms: the time of the history's last event, in ms since 1970.
        go_on: where the stream goes on.
    """

    digest: str
    until_ms: int
    go_on: GoOn


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a backfill came to.

    Args:
        generation: the one in use now.
        positions: where each partition goes on.
        dropped: keys of the generation before, which are gone.
    """

    generation: int
    positions: Positions
    dropped: int


async def load(
    settings: Settings,
    manifest: Manifest,
    content: Content,
    source: Source,
    on_progress: Callable[[int], None],
) -> Loaded:
    """Load a history's content, and switch to it.

    Args:
        settings: the configuration.
        manifest: of the model that the content is for.
        content: what the history amounts to.
        source: where it came from.
        on_progress: told how much of the content is loaded.

    Raises:
        StreamError: workers of this application run.
        BrokerUnavailable: Kafka does not answer.
        StoreUnavailable: the state store does not answer.
    """
    generations = new_generations(settings, manifest)
    try:
        before = await reach_store(generations, settings)
        partitions = await ensure_topics(settings)
        await _check_idle(settings)
        loading = await generations.begin(source.digest)
        stores = new_stores(settings, manifest, loading.generation)
        try:
            n = partitions[settings.topics.transactions]
            progress = _Progress(generations, loading.done, on_progress)
            await _fill(stores, content, n, progress)
            positions = await _positions(settings, partitions, source)
            await _place(settings, stores, positions)
        finally:
            await stores.close()
        await _check_idle(settings)
        await generations.switch(loading.generation)
        return Loaded(loading.generation, positions, await generations.drop(before))
    finally:
        await generations.close()


@dataclass(slots=True)
class _Progress:
    generations: Generations
    done: int
    tell: Callable[[int], None]


async def _fill(stores: Stores, content: Content, partitions: int, progress: _Progress) -> None:
    loaded = 0
    for at, piece in enumerate(content.pieces()):
        if at >= progress.done:
            by_partition: dict[int, dict[str, bytes]] = defaultdict(dict)
            for account, state in piece.states.items():
                by_partition[partition_of(account.encode(), partitions)][account] = state
            for partition, states in by_partition.items():
                await stores.events.load(partition, states)
            await stores.shared.load(piece.rings, piece.entries)
            await progress.generations.note(at + 1)
        loaded += len(piece)
        progress.tell(loaded)


async def _place(settings: Settings, stores: Stores, positions: Positions) -> None:
    """Write where each partition goes on, as what accounts and every shard have by then."""
    topics = settings.topics
    for topic, store in ((topics.transactions, stores.events), (topics.labels, stores.labels)):
        await _write(store, positions[topic])
        shards = range(stores.shared.shards)
        await stores.shared.load_positions(
            {
                (shard, topic, partition): position
                for partition, position in positions[topic].items()
                for shard in shards
            }
        )


async def _write(store: Store, positions: Mapping[int, int]) -> None:
    stored = await store.positions(positions)
    await store.write(
        [
            PartitionWrite(partition, stored[partition], position, {})
            for partition, position in positions.items()
            if stored[partition] is None or position > (stored[partition] or 0)
        ]
    )


async def _positions(
    settings: Settings, partitions: Mapping[str, int], source: Source
) -> Positions:
    go_on = source.go_on
    if go_on is GoOn.TIME and not await tells_ends(settings.broker):
        # The embedded broker does not tell offsets of times.
        go_on = GoOn.BEGINNING
    consumer = AIOKafkaConsumer(**client_options(settings.broker))
    try:
        await start_client(consumer, settings.broker)
        found: Positions = {}
        for topic in (settings.topics.transactions, settings.topics.labels):
            tps = [TopicPartition(topic, each) for each in range(partitions[topic])]
            offsets = await _offsets(consumer, tps, go_on, source.until_ms)
            found[topic] = {tp.partition: offsets[tp] for tp in tps}
        return found
    except (KafkaError, OSError) as error:
        raise unavailable(settings.broker, error) from None
    finally:
        await consumer.stop()


async def _offsets(
    consumer: AIOKafkaConsumer, tps: list[TopicPartition], go_on: GoOn, until_ms: int
) -> Mapping[TopicPartition, int]:
    if go_on is GoOn.BEGINNING:
        beginnings: Mapping[TopicPartition, int] = await consumer.beginning_offsets(tps)
        return beginnings
    ends: Mapping[TopicPartition, int] = await consumer.end_offsets(tps)
    if go_on is GoOn.END:
        return ends
    found = await consumer.offsets_for_times(dict.fromkeys(tps, until_ms + 1))
    return {tp: ends[tp] if found[tp] is None else found[tp].offset for tp in tps}


async def _check_idle(settings: Settings) -> None:
    """Raise :class:`StreamError` where workers of this application run."""
    if not await tells_ends(settings.broker):
        return
    admin = AIOKafkaAdminClient(**client_options(settings.broker))
    try:
        await start_client(admin, settings.broker)
        # A broker that has had no group yet must first make the topic of their offsets.
        async for attempt in AsyncRetrying(
            stop=stop_after_delay(settings.broker.connect_timeout_s),
            wait=wait_exponential(multiplier=0.1, max=2),
            retry=retry_if_exception_type(GroupCoordinatorNotAvailableError),
            reraise=True,
        ):
            with attempt:
                (answer,) = await admin.describe_consumer_groups([settings.app.id])
        # error code, group, state, protocol type, protocol, members
        members = len(answer.groups[0][5]) if answer.groups else 0
    except (KafkaError, OSError) as error:
        raise unavailable(settings.broker, error) from None
    finally:
        await admin.close()
    if members:
        raise StreamError(
            f"no worker may run while the states of app.id = {settings.app.id} are loaded, "
            f"however: {members} do; stop them, and start them when the backfill is done"
        )


def _cut(items: Mapping[_K, bytes]) -> Iterator[dict[_K, bytes]]:
    rest = iter(items.items())
    while piece := dict(islice(rest, _PIECE)):
        yield piece
