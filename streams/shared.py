"""Shared entities in the stream: what a batch reads of them, and adding to them exactly once.

Each shard of the store keeps, for every partition, how far it has been added there. A batch's
additions go to the shards they concern, each together with the position it brings the shard to. A
shard that is further already, since a worker died between this step and the next, is given only
what lies beyond.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine import buckets as ring
from engine.additions import Labels, of_events, of_labels, present
from engine.buckets import Additions
from engine.columns import Columns
from engine.errors import RiskstreamError
from engine.labels import LabelReader
from engine.schema import Schema
from engine.shared import SharedEntity
from streams.log import get_logger
from streams.metrics import Metrics
from streams.retries import Retries
from streams.store.hot_buckets import HotBuckets
from streams.store.shared import ShardAdd, SharedStore, Source, shard_of

logger = get_logger(__name__)

#: A topic's positions of what its labels changed of past events, apart from what they added.
NOTES = "#notes"


#: Whether the store has lost the positions of what is being added, too.
HasLost = Callable[[], Awaitable[bool]]


class StoreBehind(RiskstreamError):
    """The store lost its last writes: what is at hand must be read again, and nothing added."""


@dataclass(frozen=True, slots=True)
class Content:
    """What is added: kind of entity to additions, and event hash to what is kept of it."""

    additions: Mapping[str, Additions]
    entries: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class Part:
    """What one partition's batch adds.

    Args:
        first: the offset of its first record.
        position: the offset after its last record.
        content: what the records from an offset on add.
    """

    first: int
    position: int
    content: Callable[[int], Content]


class SharedState:
    """See the module's docstring.

    Args:
        schema: what an event looks like.
        shared: the kinds of entity.
        store: where their rings are.
        reader: of labels; says what is kept of an event.
        retries: how steps wait for the store.
        metrics: where lost additions are counted.
        hot: of how many entities of a kind what was read last is kept.
    """

    def __init__(
        self,
        schema: Schema,
        shared: Sequence[SharedEntity],
        store: SharedStore,
        reader: LabelReader,
        retries: Retries,
        metrics: Metrics,
        hot: int = 0,
    ) -> None:
        self.shared = tuple(shared)
        self.store = store
        self._schema = schema
        self._reader = reader
        self._retries = retries
        self._metrics = metrics
        self._at: dict[Source, int | None] = {}
        self._hot = {each.name: HotBuckets(each, hot) for each in self.shared}

    async def own(self, topic: str, partitions: Iterable[int]) -> None:
        """Learn how far each shard has what the partitions add."""
        if not self.shared:
            return
        self._forget()
        shards = range(self.store.shards)
        sources = [
            (shard, each, partition)
            for partition in partitions
            for each in (topic, topic + NOTES)
            for shard in shards
        ]
        self._at |= await self._retries.until_done("read", lambda: self.store.positions(sources))

    async def read(self, columns: Columns) -> tuple[dict[str, NDArray[np.float32]], bool]:
        """Return the graph's inputs, and whether the store was asked.

        Returns:
            Each kind's input to float32 ``[n, buckets, quantities]``.
        """
        given, unknown, wanted = {}, {}, {}
        for each in self.shared:
            hashes, closed = columns.values[each.field], each.closed(columns.event_time_ms)
            given[each.name], unknown[each.name] = self._hot[each.name].get(hashes, closed)
            if unknown[each.name].any():
                wanted[each.name] = np.unique(hashes[unknown[each.name]])
        if wanted:
            found = await self._retries.until_done("read", lambda: self.store.rings(wanted))
            for each in self.shared:
                if each.name in wanted:
                    rings = _decoded(each, found[each.name])
                    where = unknown[each.name]
                    read = self._take_in(each, columns.take(where), wanted[each.name], rings)
                    given[each.name][where] = read
        return {each.input: given[each.name] for each in self.shared}, bool(wanted)

    def _take_in(
        self,
        kind: SharedEntity,
        columns: Columns,
        entities: NDArray[np.int64],
        rings: NDArray[np.void],
    ) -> NDArray[np.float32]:
        """Return what events are given of rings that were just read, and keep it."""
        hashes, times_ms = columns.values[kind.field], columns.event_time_ms
        read = ring.read(kind, rings[np.searchsorted(entities, hashes)], times_ms)
        read[~present(self._schema, kind, hashes)] = 0
        self._hot[kind.name].put(hashes, kind.closed(times_ms), read)
        return read

    def _forget(self) -> None:
        for hot in self._hot.values():
            hot.forget()

    def of_events(
        self, columns: Columns, offsets: NDArray[np.int64], counted: NDArray[np.bool_]
    ) -> Callable[[int], Content]:
        """Return what the events of one partition add.

        Args:
            columns: ``n`` events.
            offsets: their offsets; int64 ``[n]``.
            counted: which of them count: repeated and failed ones do not; bool ``[n]``.
        """

        def content(since: int) -> Content:
            counts = counted & (offsets >= since)
            entries: dict[int, bytes] = {}
            if self._reader.is_needed:
                kept = columns.take(counts)
                hashes = kept.values[self._schema.event_id.name].tolist()
                entries = dict(zip(hashes, self._reader.entries_of(kept), strict=True))
            return Content(
                {each.name: of_events(self._schema, each, columns, counts) for each in self.shared},
                entries,
            )

        return content

    def of_labels(self, labels: Labels, offsets: NDArray[np.int64]) -> Callable[[int], Content]:
        """Return what the labels of one partition add."""

        def content(since: int) -> Content:
            some = labels.take(offsets >= since)
            kinds = [each for each in self.shared if each.takes_labels]
            return Content({each.name: of_labels(self._schema, each, some) for each in kinds}, {})

        return content

    async def add(self, topic: str, parts: Mapping[int, Part], has_lost: HasLost) -> None:
        """Add what batches add to every shard that does not have it yet.

        Where a shard alone has lost additions, that is told, and things go on without.

        Args:
            topic: the input topic.
            parts: what each of its partitions adds.
            has_lost: asked where a shard has lost additions.

        Raises:
            StoreBehind: the whole store has lost its last writes.
        """
        whole = {partition: self._by_shard(part, part.first) for partition, part in parts.items()}

        def add_of(source: Source, at: int | None) -> ShardAdd | None:
            shard, _, partition = source
            part = parts[partition]
            is_behind = at is None or at <= part.first
            by_shard = whole[partition] if is_behind else self._by_shard(part, at or 0)
            if shard not in by_shard:
                return None
            content = by_shard[shard]
            return ShardAdd(source, at, part.position, content.additions, content.entries)

        await self._send_all(_sources(topic, whole), add_of, has_lost)

    async def note(
        self,
        topic: str,
        positions: Mapping[int, int],
        entries: Mapping[int, Mapping[int, bytes]],
        has_lost: HasLost,
    ) -> None:
        """Change what is kept of past events, unless it was changed from further on already.

        Args:
            topic: of the labels that change it.
            positions: for each of its partitions, the offset after the last of these labels.
            entries: for each partition, event hash to what is kept of it from now on.
            has_lost: asked where a shard has lost additions.

        Raises:
            StoreBehind: the whole store has lost its last writes.
        """
        whole = {each: self._entries_by_shard(changed) for each, changed in entries.items()}

        def add_of(source: Source, at: int | None) -> ShardAdd | None:
            shard, _, partition = source
            position = positions[partition]
            if at is not None and at >= position:
                return None
            mine = whole[partition][shard]
            return ShardAdd(source, at, position, entries=mine, known_only=True)

        await self._send_all(_sources(topic + NOTES, whole), add_of, has_lost)

    async def _send_all(
        self,
        waiting: set[Source],
        add_of: Callable[[Source, int | None], ShardAdd | None],
        has_lost: HasLost,
    ) -> None:
        """Send what each source adds from where its shard is, until none has anything to add."""
        while waiting:
            adds = [add_of(source, self._at.get(source)) for source in sorted(waiting)]
            waiting = await self._send([each for each in adds if each is not None], has_lost)

    async def _send(self, adds: Sequence[ShardAdd], has_lost: HasLost) -> set[Source]:
        """Send additions; return the sources to try again, from where the shard says it is."""
        if not adds:
            return set()
        answers = await self._retries.until_done("write", lambda: self.store.add(adds))
        found = list(zip(adds, answers, strict=True))
        lost = [(add, stored) for add, stored in found if _is_behind(add, stored)]
        # To add now what is at hand would keep from being added again what was before it.
        if lost and await has_lost():
            raise StoreBehind("the state store lost its last writes")
        for add, stored in lost:
            self._tell_lost(add, stored)
        self._at |= {add.source: stored for add, stored in found}
        return {add.source for add, stored in found if stored != add.position}

    def _tell_lost(self, add: ShardAdd, stored: int | None) -> None:
        shard, topic, partition = add.source
        self._forget()
        self._metrics.lost_additions.labels(shard).inc()
        logger.error(
            "shard %d of the state store has lost what partition %d of %s added between offset %s "
            "and %s: scores go on without it; `riskstream state backfill` makes it whole",
            shard,
            partition,
            topic,
            "0" if stored is None else stored,
            add.expected,
        )

    def _by_shard(self, part: Part, since: int) -> dict[int, Content]:
        content, shards = part.content(since), self.store.shards
        additions: dict[int, dict[str, Additions]] = {}
        for kind, added in content.additions.items():
            of = added.entities % shards
            for shard in np.unique(of).tolist():
                mine = of == shard
                additions.setdefault(shard, {})[kind] = Additions(
                    added.entities[mine], added.buckets[mine], added.amounts[mine]
                )
        entries = self._entries_by_shard(content.entries)
        return {
            shard: Content(additions.get(shard, {}), entries.get(shard, {}))
            for shard in additions.keys() | entries.keys()
        }

    def _entries_by_shard(self, entries: Mapping[int, bytes]) -> dict[int, dict[int, bytes]]:
        by_shard: dict[int, dict[int, bytes]] = {}
        for event, entry in entries.items():
            by_shard.setdefault(shard_of(event, self.store.shards), {})[event] = entry
        return by_shard


def _is_behind(add: ShardAdd, stored: int | None) -> bool:
    """Whether a shard holds less than it was believed to."""
    if add.expected is None or stored == add.position:
        return False
    return stored is None or stored < add.expected


def _sources(topic: str, whole: Mapping[int, Iterable[int]]) -> set[Source]:
    """Return the sources of a topic's partitions, each with the shards it has something for."""
    return {(shard, topic, partition) for partition, shards in whole.items() for shard in shards}


def _decoded(shared: SharedEntity, values: Sequence[bytes | None]) -> NDArray[np.void]:
    record = ring.record(shared)
    absent = bytes(record.itemsize)
    return np.frombuffer(b"".join([each or absent for each in values]), dtype=record)
