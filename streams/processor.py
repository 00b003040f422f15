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

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.columns import Columns, Decoded, Reject
from engine.decode import Decoder
from engine.failures import set_aside
from engine.records import Encoder, Times
from engine.scored import Scored
from engine.scorer import Scorer
from engine.waves import index_accounts
from streams.batch import Batch, dead_letters, grouped, rekeyed
from streams.consumed import Consumed
from streams.effects import Computed, Effects, is_rekeyed
from streams.metrics import Metrics
from streams.outbox.base import Outbox, Results
from streams.retries import Retries
from streams.settings import Settings
from streams.shared import SharedState
from streams.store.base import Store, WriteOutcome, moved_from

#: From so many events on a batch is scored in a thread. Fewer take less time than is lost where two
#: threads wait for each other's turn at the interpreter.
_IN_THREAD = 512


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


class Begun(msgspec.Struct, frozen=True):
    """A batch of which all is computed. See :class:`streams.handling.Begun`.

    Args:
        processor: what computed it.
        stored: the positions that it was computed from.
        moved: partitions of which nothing comes, since their positions are others.
        rest: what comes of the others, where some were moved.
        computed: what comes of the batch, where none was.
    """

    processor: Processor
    stored: Mapping[int, int | None]
    moved: list[WriteOutcome]
    rest: Begun | None
    computed: Computed | None = None

    @property
    def states(self) -> Mapping[int, Mapping[str, bytes]]:
        """For each partition, account to the state that this batch brings it to."""
        if self.rest is not None:
            return self.rest.states
        return {} if self.computed is None else self.computed.states

    async def finish(self, stored: Mapping[int, int | None]) -> list[WriteOutcome]:
        """Let it have its effect."""
        outcomes = [] if self.rest is None else await self.rest.finish(stored)
        if self.computed is not None:
            outcomes += await self.processor.finish(self.computed, stored)
        return self.moved + outcomes


class Processor:
    """Computes batches of events: one while the one before has its effect.

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
        # One for all batches: with each thread more, the allocator keeps memory of its own.
        self._thread = ThreadPoolExecutor(1, "score")
        self._effects = Effects(settings, scorer, store, shared, outbox, retries, metrics)

    def decode(self, records: Consumed, received_ms: int) -> Decoded:
        """Return what records say."""
        with self._metrics.timed("decode"):
            return self._decoder.decode(records.values, received_ms, records.keys)

    async def own(self, partitions: Iterable[int]) -> None:
        """Learn how far shared entities have what the partitions add, and what is published."""
        topic, wanted = self._settings.topics.transactions, list(partitions)
        self._store.forget(wanted)
        await self._outbox.own(topic, wanted)
        await self._shared.own(topic, wanted)

    async def begin(
        self, batch: Batch[Decoded], stored: Mapping[int, int | None], ahead: Begun | None
    ) -> Begun:
        """Take a batch up to its results: see :class:`streams.handling.Overlapping`."""
        timed = self._metrics.timed
        with timed("read"):
            found = await self._read(batch, ahead)
        moved = moved_from(stored, _as_coming(found.positions, stored, ahead))
        if moved:
            # Somebody else, or a store restarted with older states: nothing may come of these.
            here = ~np.isin(batch.partitions, [each.partition for each in moved])
            rest = await self.begin(batch.part(here), stored, ahead) if here.any() else None
            return Begun(self, stored, moved, rest)
        with timed("score"):
            in_thread = ahead is not None and len(batch) >= _IN_THREAD
            scored = await self._score(batch.content.columns, found, in_thread=in_thread)
            decoded, scored = set_aside(batch.content, scored)
        with timed("encode"):
            is_new = self._is_new(batch)
            results = self._results(batch, decoded, scored, is_new)
            states = self._encoded(batch, found.accounts, scored)
        computed = Computed(batch, decoded, scored, is_new, results, states)
        return Begun(self, stored, [], None, computed)

    async def finish(
        self, computed: Computed, stored: Mapping[int, int | None]
    ) -> list[WriteOutcome]:
        """Let a batch have its effect."""
        return await self._effects.take(computed, stored)

    async def _score(self, columns: Columns, found: _Read, *, in_thread: bool) -> Scored:
        """Score events; in a thread where the batch before has to go on meanwhile."""
        arguments = (columns, found.states, found.account_index, found.inputs)
        if not in_thread:
            return self._scorer.score(*arguments)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._scorer.score, *arguments)

    async def _read(self, batch: Batch[Decoded], ahead: Begun | None) -> _Read:
        columns = batch.content.columns
        partitions = batch.partitions[columns.rows].tolist()
        accounts, index = index_accounts(zip(partitions, columns.accounts, strict=True))
        known = {} if ahead is None else ahead.states
        coming = [known.get(partition, {}).get(account) for partition, account in accounts]
        wanted: dict[int, list[str]] = {partition: [] for partition in batch.epochs}
        for (partition, account), state in zip(accounts, coming, strict=True):
            if state is None:
                wanted[partition].append(account)
        # Positions last: they tell of a store that lost writes before any of this was read.
        inputs, has_asked = await self._shared.read(columns)
        read = lambda: self._store.read(wanted, fresh=has_asked)  # noqa: E731
        found = await self._retries.until_done("read", read)
        answers = {partition: iter(values) for partition, values in found.states.items()}
        values = [
            next(answers[partition]) if state is None else state
            for (partition, _), state in zip(accounts, coming, strict=True)
        ]
        states = self._scorer.layout.decode(values)
        return _Read(accounts, index, states, found.positions, inputs)

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
            published=records.timestamps_ms[columns.rows],
            received=batch.received_ms,
            scored=time.time_ns() // 1_000_000,
        )
        rows = columns.rows
        scores = self._encoder.scores(columns, scored, times)
        alerts = self._encoder.alerts(columns, scored, times, records.values)
        alerted = rows[sorted(scored.reasons)]
        results = Results()
        for topic, at, found in ((topics.scores, rows, scores), (topics.alerts, alerted, alerts)):
            if not found:
                continue
            for partition, mine in grouped(records.partitions[at], found, is_new[at]).items():
                results.add(topic, partition, partition, mine)
        for each in decoded.rejects:
            if is_new[each.row]:
                self._reject(results, records, each)
        return results

    def _is_new(self, batch: Batch[Decoded]) -> NDArray[np.bool_]:
        """Return which records' results have not been published; bool ``[n]``."""
        topic = self._settings.topics.transactions
        found = {each: self._outbox.published(topic, each) for each in batch.positions}
        published = {each: before for each, before in found.items() if before}
        if all(before <= batch.firsts[each] for each, before in published.items()):
            return np.ones(len(batch), dtype=np.bool_)
        return batch.offsets >= np.array([found[each] for each in batch.partitions.tolist()])

    def _reject(self, results: Results, records: Consumed, reject: Reject) -> None:
        topics, source = self._settings.topics, int(records.partitions[reject.row])
        if is_rekeyed(self._settings, reject):
            again = rekeyed(records.values[reject.row], reject)
            results.add(topics.transactions, source, None, [again])
        else:
            letters = dead_letters(records, reject, topics.part_bytes)
            results.add(topics.dead_letters, source, source, letters)

    def _encoded(
        self, batch: Batch[Decoded], accounts: Sequence[tuple[int, str]], scored: Scored
    ) -> dict[int, dict[str, bytes]]:
        states: dict[int, dict[str, bytes]] = {partition: {} for partition in batch.positions}
        encoded = self._scorer.layout.encode(scored.states)
        for (partition, account), state in zip(accounts, encoded, strict=True):
            states[partition][account] = state
        return states


def _as_coming(
    found: Mapping[int, int | None], stored: Mapping[int, int | None], ahead: Begun | None
) -> dict[int, int | None]:
    """Return positions that were read as they are once the batch ahead has had its effect."""
    before = {} if ahead is None else ahead.stored
    return {
        each: stored[each] if each in before and at == before[each] else at
        for each, at in found.items()
    }
