"""The way of a batch of labels: found by their events, added to buckets, remembered.

::

    1 decode   bytes to labels and rejects
    2 find     what was kept of their events, and what they change
    3 publish  dead letters, as the guarantee says
    4 add      to the buckets of shared entities, once for each shard
    5 note     the labels beside their events, so that a second one replaces the first
    6 write    positions

A label is noted after it was added, so that a crash between the two adds it again, which the
shards refuse; and never the other way round. Notes have positions of their own, so that a worker
which has lost its partition cannot write an older one over its successor's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

import numpy as np

from engine.label_decode import DecodedLabels
from engine.labels import Found, LabelReader
from streams.batch import Batch, dead_letters
from streams.consumed import Consumed
from streams.metrics import Metrics
from streams.outbox.base import Outbox, Results
from streams.retries import Retries
from streams.settings import Topics
from streams.shared import Part, SharedState, StoreBehind
from streams.store.base import PartitionWrite, Store, WriteKind, WriteOutcome, has_lost_writes


class LabelProcessor:
    """Processes batches of labels, one after the other. See :class:`streams.handling.Handler`.

    Args:
        topics: where labels come from, and dead letters go.
        reader: reads the labels.
        store: their positions.
        shared: past events, and the buckets of shared entities.
        outbox: where dead letters go.
        retries: how steps wait for servers.
        metrics: what is told of it.
        has_lost_writes: whether the store lost its last writes, of events or of labels.
    """

    def __init__(
        self,
        topics: Topics,
        reader: LabelReader,
        store: Store,
        shared: SharedState,
        outbox: Outbox,
        retries: Retries,
        metrics: Metrics,
        has_lost_writes: Callable[[], Awaitable[bool]],
    ) -> None:
        self._has_lost_writes = has_lost_writes
        self._topics = topics
        self._reader = reader
        self._store = store
        self._shared = shared
        self._outbox = outbox
        self._retries = retries
        self._metrics = metrics

    def decode(self, records: Consumed, received_ms: int) -> DecodedLabels:
        """Return what records say."""
        return self._reader.decode(records.values, records.timestamps_ms.tolist(), received_ms)

    async def own(self, partitions: Iterable[int]) -> None:
        """Learn how far shared entities have what the partitions add, and what is published."""
        wanted = list(partitions)
        await self._outbox.own(self._topics.labels, wanted)
        await self._shared.own(self._topics.labels, wanted)

    async def handle(
        self, batch: Batch[DecodedLabels], stored: Mapping[int, int | None]
    ) -> list[WriteOutcome]:
        """Take a batch through all steps."""
        found = await self._find(batch.content)
        topic = self._topics.labels
        # Positions last: they tell of a store that lost events before these were looked for.
        if await self._retries.until_done("read", self._has_lost_writes):
            return [WriteOutcome(each, WriteKind.BEHIND, None) for each in batch.positions]
        taken = await self._outbox.publish(topic, batch.positions, self._results(batch, found))
        mine = {each: at for each, at in batch.positions.items() if each not in taken}

        async def has_lost() -> bool:
            read = lambda: self._store.positions(mine)  # noqa: E731
            return has_lost_writes(await self._retries.until_done("read", read), stored)

        try:
            await self._shared.add(topic, self._parts(batch, mine, found), has_lost)
            changed = _by_partition(batch, found)
            changed = {each: changed[each] for each in mine.keys() & changed.keys()}
            await self._shared.note(topic, mine, changed, has_lost)
        except StoreBehind:
            outcomes = [WriteOutcome(each, WriteKind.BEHIND, None) for each in mine]
            return [*outcomes, *(WriteOutcome(each, WriteKind.FENCED, None) for each in taken)]
        writes = [
            PartitionWrite(partition, stored[partition], position, {})
            for partition, position in mine.items()
        ]
        outcomes = await self._retries.until_done("write", lambda: self._store.write(writes))
        self._observe(batch, found, {each.partition for each in outcomes if each.done})
        return [*outcomes, *(WriteOutcome(each, WriteKind.FENCED, None) for each in taken)]

    async def _find(self, decoded: DecodedLabels) -> Found:
        events = list(dict.fromkeys(decoded.events.tolist()))
        store = self._shared.store
        entries = await self._retries.until_done("read", lambda: store.entries(events))
        return self._reader.find(decoded, dict(zip(events, entries, strict=True)))

    def _results(self, batch: Batch[DecodedLabels], found: Found) -> Results:
        results = Results()
        for each in found.rejects:
            source = int(batch.partitions[each.row])
            if batch.offsets[each.row] < self._outbox.published(self._topics.labels, source):
                continue
            letters = dead_letters(batch.records, each, self._topics.part_bytes)
            results.add(self._topics.dead_letters, source, source, letters)
        return results

    def _parts(
        self, batch: Batch[DecodedLabels], positions: Mapping[int, int], found: Found
    ) -> dict[int, Part]:
        offsets, partitions = batch.offsets, batch.partitions
        parts = {}
        for partition, position in positions.items():
            mine = partitions[found.rows] == partition
            content = self._shared.of_labels(found.labels.take(mine), offsets[found.rows[mine]])
            parts[partition] = Part(batch.firsts[partition], position, content)
        return parts

    def _observe(self, batch: Batch[DecodedLabels], found: Found, done: set[int]) -> None:
        counts = np.isin(batch.partitions, list(done))
        positive = found.labels.positive[counts[found.rows]]
        known = found.labels.known[counts[found.rows]]
        labels = self._metrics.labels
        labels.labels("fraud").inc(int(((known == 1) & (positive == 1)).sum()))
        labels.labels("genuine").inc(int(((known == 1) & (positive == 0)).sum()))
        labels.labels("replaced").inc(int((known == 0).sum()))
        labels.labels("repeated").inc(found.repeated)
        for reject in found.rejects:
            if counts[reject.row]:
                self._metrics.dead_letters.labels(reject.reason).inc()


def _by_partition(batch: Batch[DecodedLabels], found: Found) -> dict[int, dict[int, bytes]]:
    """Return the changed entries of each partition that the labels for them came from."""
    content = batch.content
    partitions = batch.partitions[content.rows].tolist()
    of = dict(zip(content.events.tolist(), partitions, strict=True))
    changed: dict[int, dict[int, bytes]] = {}
    for event, entry in found.changed.items():
        changed.setdefault(of[event], {})[event] = entry
    return changed
