"""The effect of a batch: what is published of it, added to shared entities and written.

See :mod:`streams.processor` for what comes before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.columns import Decoded, Reason, Reject
from engine.scored import Scored
from engine.scorer import Scorer
from streams.batch import Batch
from streams.loops import both
from streams.metrics import Metrics, add_to
from streams.outbox.base import Outbox, Results
from streams.retries import Retries
from streams.settings import OnWrongKey, Settings
from streams.shared import Part, SharedState, StoreBehind
from streams.store.base import PartitionWrite, Store, WriteKind, WriteOutcome, has_lost_writes


class Computed(msgspec.Struct, frozen=True):
    """What comes of a batch.

    Args:
        batch: its records.
        decoded: what became of them.
        scored: the events' scores.
        is_new: which records' results have not been published; bool ``[n]``.
        results: what is to be published.
        states: for each partition, account to new state.
    """

    batch: Batch[Decoded]
    decoded: Decoded
    scored: Scored
    is_new: NDArray[np.bool_]
    results: Results
    states: Mapping[int, Mapping[str, bytes]]


class Effects:
    """Lets batches have their effect.

    Args:
        settings: the configuration.
        scorer: the model.
        store: states and positions.
        shared: the buckets of shared entities.
        outbox: where scores, alerts and dead letters go.
        retries: how steps wait for servers.
        metrics: what is told of it.
    """

    def __init__(
        self,
        settings: Settings,
        scorer: Scorer,
        store: Store,
        shared: SharedState,
        outbox: Outbox,
        retries: Retries,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._scorer = scorer
        self._store = store
        self._shared = shared
        self._outbox = outbox
        self._retries = retries
        self._metrics = metrics

    async def take(
        self, computed: Computed, stored: Mapping[int, int | None]
    ) -> list[WriteOutcome]:
        """Let a batch have its effect: publish, add, and write once both are done.

        What is added is the same whoever adds it, and no shard takes it twice, so it need not wait
        until it is known that results are published, except where another may have taken over.
        """
        batch = computed.batch
        positions, taken = batch.positions, set[int]()
        try:
            if self._outbox.tells_offsets:
                taken = await self._publish(computed)
                positions = {each: at for each, at in positions.items() if each not in taken}
                await self._add(computed, positions, stored)
            elif self._shared.shared:
                await both(self._publish(computed), self._add(computed, positions, stored))
            else:
                await self._publish(computed)
            with self._metrics.timed("write"):
                outcomes = await self._write(positions, stored, computed.states)
        except StoreBehind:
            outcomes = [WriteOutcome(each, WriteKind.BEHIND, None) for each in positions]
        self._observe(computed, {each.partition for each in outcomes if each.done})
        return [*outcomes, *(WriteOutcome(each, WriteKind.FENCED, None) for each in taken)]

    async def _publish(self, computed: Computed) -> set[int]:
        """Publish results, and return the partitions that another worker has taken."""
        topic, positions = self._settings.topics.transactions, computed.batch.positions
        with self._metrics.timed("publish"):
            return await self._outbox.publish(topic, positions, computed.results)

    async def _add(
        self,
        computed: Computed,
        positions: Mapping[int, int],
        stored: Mapping[int, int | None],
    ) -> None:
        """Add to shared entities what the batch's records of some partitions add."""
        if not self._shared.shared:
            return
        with self._metrics.timed("add"):
            await self._add_all(computed, positions, stored)

    async def _add_all(
        self,
        computed: Computed,
        positions: Mapping[int, int],
        stored: Mapping[int, int | None],
    ) -> None:
        batch, scored = computed.batch, computed.scored
        columns = self._scorer.with_kept(computed.decoded.columns, scored)
        offsets, partitions = batch.offsets, batch.partitions
        parts = {}
        for partition, position in positions.items():
            mine = partitions[columns.rows] == partition
            events = columns.take(mine)
            counted = ~scored.duplicate[mine]
            content = self._shared.of_events(events, offsets[events.rows], counted)
            parts[partition] = Part(batch.firsts[partition], position, content)

        async def has_lost() -> bool:
            read = lambda: self._store.positions(positions)  # noqa: E731
            found = await self._retries.until_done("read", read)
            return has_lost_writes(found, stored)

        await self._shared.add(self._settings.topics.transactions, parts, has_lost)

    async def _write(
        self,
        positions: Mapping[int, int],
        stored: Mapping[int, int | None],
        states: Mapping[int, Mapping[str, bytes]],
    ) -> list[WriteOutcome]:
        writes = [
            PartitionWrite(partition, stored[partition], position, states[partition])
            for partition, position in positions.items()
        ]
        return await self._retries.until_done("write", lambda: self._store.write(writes))

    def _observe(self, computed: Computed, done: set[int]) -> None:
        """Count what has had its effect; of what was published before, only that it was scored."""
        metrics, batch, decoded = self._metrics, computed.batch, computed.decoded
        now_ms = time.time_ns() // 1_000_000
        metrics.batch_size.observe(len(batch))
        for partition in done & batch.positions.keys():
            metrics.processed(partition, batch.counts[partition], batch.positions[partition])
        counts = computed.is_new
        published_ms, scored = batch.records.timestamps_ms, computed.scored
        decisions, duplicate, late = scored.decisions, scored.duplicate, scored.late
        if np.count_nonzero(counts) < len(batch) or not done >= batch.positions.keys():
            is_done = np.isin(batch.partitions, list(done))
            add_to(metrics.rebuilt, int((is_done & ~counts).sum()))
            counts = counts & is_done
            mine = counts[decoded.rows]
            published_ms, decisions = published_ms[counts], decisions[mine]
            duplicate, late = duplicate[mine], late[mine]
        metrics.latency.observe((now_ms - published_ms) / 1000)
        names = self._scorer.manifest.decisions
        by_decision = np.bincount(decisions, minlength=len(names)).tolist()
        for decision, count in zip(names, by_decision, strict=True):
            if count:
                metrics.decided(decision, count)
        add_to(metrics.duplicates, int(np.count_nonzero(duplicate)))
        add_to(metrics.late, int(np.count_nonzero(late)))
        for reject in decoded.rejects:
            if not counts[reject.row]:
                continue
            if is_rekeyed(self._settings, reject):
                metrics.rekeyed.inc()
            else:
                metrics.dead_letters.labels(reject.reason).inc()


def is_rekeyed(settings: Settings, reject: Reject) -> bool:
    """Whether what was refused is published again under its account."""
    rekey = settings.events.on_wrong_key is OnWrongKey.REKEY
    return rekey and reject.reason is Reason.WRONG_KEY
