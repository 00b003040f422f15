"""The way of a batch: each step a method whose name says it, in one direction.

::

    1 decode   bytes to columns and rejects
    2 read     the states of the batch's accounts
    3 score    waves through the graph, decisions, reasons
    4 publish  scores, alerts and dead letters, until acknowledged
    5 write    states and positions, atomically by partition
    6 commit   Kafka learns the offsets last (by the caller's acknowledgement of the poll)

A crash anywhere replays the batch: it gives the same scores under the same ids, and the position
that is written with the states keeps it from counting twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiokafka import ConsumerRecord
from numpy.typing import NDArray

from engine.columns import Columns, Decoded, Reason, Reject
from engine.decode import Decoder
from engine.failures import set_aside
from engine.records import Encoder, Record, Times, without_event
from engine.scorer import DECISIONS, Scored, Scorer
from engine.waves import index_accounts
from streams.batch import Batch, dead_letters, grouped, rekeyed
from streams.log import get_logger
from streams.metrics import Metrics
from streams.publisher import Publisher
from streams.retries import Retries
from streams.settings import OnWrongKey, Settings
from streams.store.base import PartitionWrite, Store, WriteKind, WriteOutcome
from streams.transport import Poll

logger = get_logger(__name__)


@dataclass(slots=True)
class Outcome:
    """What a poll came to.

    Args:
        done: partitions whose records have had their effect.
        rewind: partitions to read again from an offset on (None: from the beginning), since the
            store is behind. They are not taken until they are owned again.
        fenced: partitions that another worker owns.
    """

    done: set[int] = field(default_factory=set)
    rewind: dict[int, int | None] = field(default_factory=dict)
    fenced: list[int] = field(default_factory=list)


class Processor:
    """Processes polls, one after the other.

    While Kafka or the store is away, a step is tried again until it succeeds or the batch is
    interrupted; meanwhile nothing new is read.

    Args:
        settings: the configuration.
        decoder: reads the events.
        scorer: the model.
        store: states and positions.
        publisher: where scores, alerts and dead letters go.
        metrics: what is told of it.
    """

    def __init__(
        self,
        settings: Settings,
        decoder: Decoder,
        scorer: Scorer,
        store: Store,
        publisher: Publisher,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._decoder = decoder
        self._scorer = scorer
        self._encoder = Encoder(scorer)
        self._store = store
        self._publisher = publisher
        self._metrics = metrics
        self.retries = Retries(metrics)
        self._stored: dict[int, int | None] = {}

    def stored(self, partition: int) -> int | None:
        """Return the position that the store holds for a partition, as far as is known here."""
        return self._stored.get(partition)

    async def ping_store(self) -> None:
        """Return if the state store answers. Raises :class:`StoreUnavailable`."""
        await self._store.ping()

    async def ping_broker(self) -> None:
        """Return if Kafka answers. Raises :class:`BrokerUnavailable`."""
        await self._publisher.ping()

    async def positions(self, partitions: Iterable[int]) -> dict[int, int | None]:
        """Return the stored position of each partition; None where there is none."""
        wanted = list(partitions)
        return await self.retries.until_done("read", lambda: self._store.positions(wanted))

    def own(self, positions: Mapping[int, int | None]) -> None:
        """Take partitions from now on, each with the position that the store holds of it."""
        self._stored |= positions

    def leave_all(self) -> None:
        """Take no partition any more."""
        self._stored.clear()

    async def process(self, poll: Poll, skip: Callable[[int], bool]) -> Outcome:
        """Take a poll through all steps.

        Args:
            poll: the records.
            skip: whether a partition is to be left alone, its records belonging to another worker
                or to an earlier epoch.

        Raises:
            Interrupted: the batch was given up while a server was away.
        """
        batch = self._batch(poll, skip)
        if not batch.records:
            return Outcome()
        # 1. decode
        with self._metrics.timed("decode"):
            decoded = self._decode(batch)
        columns = decoded.columns
        # 2. read
        with self._metrics.timed("read"):
            accounts, index, states = await self._read(batch, columns)
        # 3. score
        with self._metrics.timed("score"):
            scored = self._scorer.score(columns, states, index)
            decoded, scored = set_aside(decoded, scored)
        # 4. publish
        await self._publish(batch, decoded, scored)
        # 5. write
        with self._metrics.timed("write"):
            outcomes = await self._write(batch, accounts, scored)
        # 6. commit: the caller acknowledges the poll
        outcome = self._conclude(batch, outcomes)
        self._observe(batch, decoded, scored, outcome.done)
        return outcome

    def _batch(self, poll: Poll, skip: Callable[[int], bool]) -> Batch:
        records: list[ConsumerRecord] = []
        positions = {}
        for partition, part in poll.parts.items():
            if partition in self._stored and not skip(partition):
                records += part
                positions[partition] = part[-1].offset + 1
        expected = {partition: self._stored[partition] for partition in positions}
        return Batch(poll, records, positions, expected)

    def _decode(self, batch: Batch) -> Decoded:
        values = [record.value for record in batch.records]
        keys = [record.key for record in batch.records]
        return self._decoder.decode(values, batch.poll.received_ms, keys)

    async def _read(
        self, batch: Batch, columns: Columns
    ) -> tuple[list[tuple[int, str]], NDArray[np.int64], NDArray[Any]]:
        """Return the batch's accounts, each event's account, and the accounts' states."""
        partitions = [batch.records[row].partition for row in columns.rows.tolist()]
        accounts, index = index_accounts(zip(partitions, columns.accounts, strict=True))
        wanted: dict[int, list[str]] = {partition: [] for partition in batch.positions}
        for partition, account in accounts:
            wanted[partition].append(account)
        found = await self.retries.until_done("read", lambda: self._store.read(wanted))
        answers = {partition: iter(values) for partition, values in found.items()}
        values = [next(answers[partition]) for partition, _ in accounts]
        return accounts, index, self._scorer.layout.decode(values)

    def _outputs(
        self, batch: Batch, decoded: Decoded, scored: Scored
    ) -> dict[str, list[tuple[int | None, list[Record]]]]:
        columns, topics = decoded.columns, self._settings.topics
        times = Times(
            published=batch.published_ms[columns.rows],
            received=batch.poll.received_ms,
            scored=time.time_ns() // 1_000_000,
        )
        values = [record.value for record in batch.records]
        rows = columns.rows.tolist()
        scores = self._encoder.scores(columns, scored, times)
        alerts = self._encoder.alerts(columns, scored, times, values)
        places = sorted(scored.reasons)
        moved = [each for each in decoded.rejects if self._is_rekeyed(each)]
        dead = [each for each in decoded.rejects if not self._is_rekeyed(each)]
        return {
            topics.scores: grouped(batch, rows, scores),
            topics.alerts: grouped(batch, [rows[place] for place in places], alerts),
            topics.dead_letters: [
                (batch.records[each.row].partition, dead_letters(batch, each, topics.part_bytes))
                for each in dead
            ],
            topics.transactions: [(None, [rekeyed(batch, each) for each in moved])],
        }

    async def _publish(self, batch: Batch, decoded: Decoded, scored: Scored) -> None:
        with self._metrics.timed("encode"):
            outputs = self._outputs(batch, decoded, scored)
        with self._metrics.timed("publish"):
            shrink = {self._settings.topics.alerts: without_event}
            delivery = self._publisher.delivery(outputs, shrink)
            await self.retries.until_done("publish", delivery.send)

    async def _write(
        self, batch: Batch, accounts: Sequence[tuple[int, str]], scored: Scored
    ) -> list[WriteOutcome]:
        states: dict[int, dict[str, bytes]] = {partition: {} for partition in batch.positions}
        encoded = self._scorer.layout.encode(scored.states)
        for (partition, account), state in zip(accounts, encoded, strict=True):
            states[partition][account] = state
        writes = [
            PartitionWrite(partition, batch.expected[partition], position, states[partition])
            for partition, position in batch.positions.items()
        ]
        return await self.retries.until_done("write", lambda: self._store.write(writes))

    def _conclude(self, batch: Batch, outcomes: Sequence[WriteOutcome]) -> Outcome:
        outcome = Outcome()
        for each in outcomes:
            # A rebalance meanwhile has read the positions again.
            is_mine = self._stored.get(each.partition, -1) == batch.expected[each.partition]
            if each.done:
                outcome.done.add(each.partition)
                if is_mine:
                    self._stored[each.partition] = each.stored
                continue
            _tell(each)
            self._stored.pop(each.partition, None)
            if each.kind is WriteKind.FENCED:
                outcome.fenced.append(each.partition)
            else:
                outcome.rewind[each.partition] = each.stored
        return outcome

    def _observe(self, batch: Batch, decoded: Decoded, scored: Scored, done: set[int]) -> None:
        """Count what had its effect: the records of the partitions that are done."""
        metrics = self._metrics
        now_ms = time.time_ns() // 1_000_000
        counted = batch.of(done)
        metrics.batch_size.observe(int(counted.sum()))
        metrics.latency.observe((now_ms - batch.published_ms[counted]) / 1000)
        for partition in done:
            records = batch.poll.parts[partition]
            metrics.events.labels(partition).inc(len(records))
            metrics.position.labels(partition).set(records[-1].offset + 1)
        answered = counted[decoded.columns.rows]
        counts = np.bincount(scored.decisions[answered], minlength=len(DECISIONS))
        for decision, count in zip(DECISIONS, counts.tolist(), strict=True):
            metrics.scores.labels(decision).inc(count)
        metrics.duplicates.inc(int(scored.duplicate[answered].sum()))
        metrics.late.inc(int(scored.late[answered].sum()))
        for reject in decoded.rejects:
            if counted[reject.row]:
                self._count_reject(reject)

    def _count_reject(self, reject: Reject) -> None:
        if self._is_rekeyed(reject):
            self._metrics.rekeyed.inc()
        else:
            self._metrics.dead_letters.labels(reject.reason).inc()

    def _is_rekeyed(self, reject: Reject) -> bool:
        rekey = self._settings.events.on_wrong_key is OnWrongKey.REKEY
        return rekey and reject.reason is Reason.WRONG_KEY


def _tell(refused: WriteOutcome) -> None:
    if refused.kind is WriteKind.FENCED:
        logger.warning(
            "partition %d belongs to another worker, whose position is %s: nothing of this batch "
            "was written",
            refused.partition,
            refused.stored,
        )
        return
    logger.warning(
        "partition %d: the state store lost its last writes, reading again from %s",
        refused.partition,
        "the beginning" if refused.stored is None else f"offset {refused.stored}",
    )
