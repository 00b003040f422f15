"""The way of a batch: each step a method whose name says it, in one direction.

::

    1 decode   bytes to columns and rejects
    2 read     the states of the batch's accounts and what position they are of, the buckets of
               its shared entities
    3 score    waves through the graph, decisions, reasons
    4 publish  scores, alerts and dead letters, as the guarantee says
    5 add      to the buckets of shared entities, once for each shard
    6 write    states and positions, atomically by partition
    7 commit   Kafka learns the offsets last (by the caller)

A crash anywhere replays the batch: it gives the same scores under the same ids, and the position
that is written with the states keeps it from counting twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from aiokafka import ConsumerRecord
from numpy.typing import NDArray

from engine.columns import Columns, Decoded, Reason, Reject
from engine.decode import Decoder
from engine.failures import set_aside
from engine.records import Encoder, Times
from engine.scorer import Scored, Scorer
from engine.waves import index_accounts
from streams.batch import Batch, dead_letters, grouped, rekeyed
from streams.metrics import Metrics
from streams.outbox.base import Outbox, Results
from streams.retries import Retries
from streams.settings import OnWrongKey, Settings
from streams.shared import Part, SharedState, StoreBehind
from streams.store.base import (
    PartitionWrite,
    Store,
    WriteKind,
    WriteOutcome,
    has_lost_writes,
    moved_from,
)


class _Read(NamedTuple):
    """What is known before a batch of ``n`` events.

    Args:
        accounts: the ``u`` accounts, each with its partition.
        account_index: each event's place among these; int64 ``[n]``.
        states: the accounts' states; record array ``[u]``.
        positions: what the states are of.
        inputs: the graph's shared inputs.
    """

    accounts: list[tuple[int, str]]
    account_index: NDArray[np.int64]
    states: NDArray[Any]
    positions: Mapping[int, int | None]
    inputs: dict[str, NDArray[np.float32]]


class Processor:
    """Processes batches of events, one after the other.

    While Kafka or the store is away, a step is tried again until it succeeds or the batch is
    interrupted; meanwhile nothing new is read.

    Args:
        settings: the configuration.
        decoder: reads the events.
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
        decoder: Decoder,
        scorer: Scorer,
        store: Store,
        shared: SharedState,
        outbox: Outbox,
        retries: Retries,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._decoder = decoder
        self._scorer = scorer
        self._encoder = Encoder(scorer)
        self._store = store
        self._shared = shared
        self._outbox = outbox
        self._retries = retries
        self._metrics = metrics

    def decode(self, records: Sequence[ConsumerRecord], received_ms: int) -> Decoded:
        """Return what records say."""
        with self._metrics.timed("decode"):
            values = [record.value for record in records]
            keys = [record.key for record in records]
            return self._decoder.decode(values, received_ms, keys)

    async def own(self, partitions: Iterable[int]) -> None:
        """Learn how far shared entities have what the partitions add, and what is published."""
        topic, wanted = self._settings.topics.transactions, list(partitions)
        await self._outbox.own(topic, wanted)
        await self._shared.own(topic, wanted)

    async def handle(
        self, batch: Batch[Decoded], stored: Mapping[int, int | None]
    ) -> list[WriteOutcome]:
        """Take a batch through all steps. See :class:`streams.lane.Handler`."""
        timed = self._metrics.timed
        with timed("read"):
            found = await self._read(batch)
        moved = moved_from(stored, found.positions)
        if moved:
            # Somebody else, or a store restarted with older states: nothing may come of these.
            here = ~np.isin(batch.partitions, [each.partition for each in moved])
            return moved + (await self.handle(batch.part(here), stored) if here.any() else [])
        with timed("score"):
            scored = self._scorer.score(
                batch.content.columns, found.states, found.account_index, found.inputs
            )
            decoded, scored = set_aside(batch.content, scored)
        with timed("encode"):
            is_new = self._is_new(batch)
            results = self._results(batch, decoded, scored, is_new)
        with timed("publish"):
            topic = self._settings.topics.transactions
            taken = await self._outbox.publish(topic, batch.positions, results)
        mine = {each: at for each, at in batch.positions.items() if each not in taken}
        try:
            with timed("add"):
                kept = self._scorer.with_kept(decoded.columns, scored)
                await self._add(batch, mine, stored, kept, scored)
            with timed("write"):
                outcomes = await self._write(mine, stored, found.accounts, scored)
        except StoreBehind:
            outcomes = [WriteOutcome(each, WriteKind.BEHIND, None) for each in mine]
        done = {each.partition for each in outcomes if each.done}
        self._observe(batch, decoded, scored, done, is_new)
        return [*outcomes, *(WriteOutcome(each, WriteKind.FENCED, None) for each in taken)]

    async def _read(self, batch: Batch[Decoded]) -> _Read:
        columns = batch.content.columns
        partitions = [batch.records[row].partition for row in columns.rows.tolist()]
        accounts, index = index_accounts(zip(partitions, columns.accounts, strict=True))
        wanted: dict[int, list[str]] = {partition: [] for partition in batch.epochs}
        for partition, account in accounts:
            wanted[partition].append(account)
        # Positions last: they tell of a store that lost writes before any of this was read.
        inputs = await self._shared.read(columns)
        found = await self._retries.until_done("read", lambda: self._store.read(wanted))
        answers = {partition: iter(values) for partition, values in found.states.items()}
        values = [next(answers[partition]) for partition, _ in accounts]
        states = self._scorer.layout.decode(values)
        return _Read(accounts, index, states, found.positions, inputs)

    async def _add(
        self,
        batch: Batch[Decoded],
        positions: Mapping[int, int],
        stored: Mapping[int, int | None],
        columns: Columns,
        scored: Scored,
    ) -> None:
        if not self._shared.shared:
            return
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

    def _results(
        self,
        batch: Batch[Decoded],
        decoded: Decoded,
        scored: Scored,
        is_new: NDArray[np.bool_],
    ) -> Results:
        """Return what is to be published: nothing of records that were published before."""
        columns, topics, records = decoded.columns, self._settings.topics, batch.records
        times = Times(
            published=batch.published_ms[columns.rows],
            received=batch.received_ms,
            scored=time.time_ns() // 1_000_000,
        )
        rows = columns.rows.tolist()
        scores = self._encoder.scores(columns, scored, times)
        values = [record.value for record in records]
        alerts = self._encoder.alerts(columns, scored, times, values)
        places = [rows[place] for place in sorted(scored.reasons)]
        results = Results()
        for topic, at, encoded in ((topics.scores, rows, scores), (topics.alerts, places, alerts)):
            for partition, found in grouped(records, at, encoded, is_new).items():
                results.add(topic, partition, partition, found)
        for each in decoded.rejects:
            if is_new[each.row]:
                self._reject(results, records[each.row], each)
        return results

    def _is_new(self, batch: Batch[Decoded]) -> NDArray[np.bool_]:
        """Return which records' results have not been published; bool ``[n]``."""
        topic, firsts = self._settings.topics.transactions, batch.firsts
        published = {each: self._outbox.published(topic, each) for each in firsts}
        if all(published[each] <= first for each, first in firsts.items()):
            return np.ones(len(batch), dtype=np.bool_)
        return batch.offsets >= np.array([published[each] for each in batch.partitions.tolist()])

    def _reject(self, results: Results, record: ConsumerRecord, reject: Reject) -> None:
        topics, source = self._settings.topics, record.partition
        if self._is_rekeyed(reject):
            results.add(topics.transactions, source, None, [rekeyed(record, reject)])
        else:
            letters = dead_letters(record, reject, topics.part_bytes)
            results.add(topics.dead_letters, source, source, letters)

    async def _write(
        self,
        positions: Mapping[int, int],
        stored: Mapping[int, int | None],
        accounts: Sequence[tuple[int, str]],
        scored: Scored,
    ) -> list[WriteOutcome]:
        states: dict[int, dict[str, bytes]] = {partition: {} for partition in positions}
        encoded = self._scorer.layout.encode(scored.states)
        for (partition, account), state in zip(accounts, encoded, strict=True):
            if partition in states:
                states[partition][account] = state
        writes = [
            PartitionWrite(partition, stored[partition], position, states[partition])
            for partition, position in positions.items()
        ]
        return await self._retries.until_done("write", lambda: self._store.write(writes))

    def _observe(
        self,
        batch: Batch[Decoded],
        decoded: Decoded,
        scored: Scored,
        done: set[int],
        is_new: NDArray[np.bool_],
    ) -> None:
        """Count what has had its effect; of what was published before, only that it was scored."""
        metrics = self._metrics
        now_ms = time.time_ns() // 1_000_000
        counts = np.isin(batch.partitions, list(done))
        metrics.rebuilt.inc(int((counts & ~is_new).sum()))
        counts &= is_new
        metrics.batch_size.observe(len(batch))
        metrics.latency.observe((now_ms - batch.published_ms[counts]) / 1000)
        for partition, position in batch.positions.items():
            if partition in done:
                metrics.events.labels(partition).inc(int((batch.partitions == partition).sum()))
                metrics.position.labels(partition).set(position)
        mine = counts[decoded.rows]
        decisions = self._scorer.manifest.decisions
        by_decision = np.bincount(scored.decisions[mine], minlength=len(decisions))
        for decision, count in zip(decisions, by_decision.tolist(), strict=True):
            metrics.scores.labels(decision).inc(count)
        metrics.duplicates.inc(int(scored.duplicate[mine].sum()))
        metrics.late.inc(int(scored.late[mine].sum()))
        for reject in decoded.rejects:
            if not counts[reject.row]:
                continue
            if self._is_rekeyed(reject):
                metrics.rekeyed.inc()
            else:
                metrics.dead_letters.labels(reject.reason).inc()

    def _is_rekeyed(self, reject: Reject) -> bool:
        rekey = self._settings.events.on_wrong_key is OnWrongKey.REKEY
        return rekey and reject.reason is Reason.WRONG_KEY
