"""A topic that a worker reads: what it owns of it, what waits, and what is processed next.

Records wait where they lie too far ahead of the slowest partition (:mod:`streams.alignment`). They
are kept decoded, and their partition is paused, so that no more than a poll of each waits.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, cast

import msgspec

from streams.alignment import Alignment
from streams.batch import Batch, ContentT
from streams.consumed import Consumed
from streams.handling import Begun, IsLeft, Outcome, Overlapping, Stepwise
from streams.log import get_logger
from streams.polls import Poll
from streams.retries import Retries
from streams.store.base import Store, WriteKind, WriteOutcome
from streams.waiting import Waiting

logger = get_logger(__name__)

#: Stands for the position of a partition that is not owned.
_GONE = -2


class _Flight(msgspec.Struct, Generic[ContentT], frozen=True):
    """A batch that is having its effect.

    Args:
        batch: its records.
        begun: what came of them.
        takes: how often each partition had been taken before.
        task: ends with its outcomes.
    """

    batch: Batch[ContentT]
    begun: Begun
    takes: Mapping[int, int]
    task: asyncio.Task[list[WriteOutcome]]


class Lane(Generic[ContentT]):
    """See the module's docstring.

    A batch whose handler allows it is computed while the one before has its effect. That is one at
    most, and what the next one was computed from is checked before it has its own.

    Args:
        topic: its name.
        store: where its positions are.
        handler: processes its batches.
        alignment: says how far its partitions may be taken.
        retries: how steps wait for servers.
        max_batch: the most records processed together.
    """

    def __init__(
        self,
        topic: str,
        store: Store,
        handler: Stepwise[ContentT] | Overlapping[ContentT, Any],
        alignment: Alignment,
        retries: Retries,
        max_batch: int,
    ) -> None:
        self.topic = topic
        self._store = store
        self._handler = handler
        self._overlapping = handler if isinstance(handler, Overlapping) else None
        self._alignment = alignment
        self._retries = retries
        #: Held by whoever processes records: a poll, or the clock that lets waiting ones go.
        self.lock = asyncio.Lock()
        self._stored: dict[int, int | None] = {}
        #: Partitions of which the store lost writes, until they are taken again.
        self._lost: set[int] = set()
        #: How often each partition was taken. What was begun before it was taken anew is not its.
        self._takes: Counter[int] = Counter()
        self._waiting: Waiting[ContentT] = Waiting(max_batch)
        self._flight: _Flight[ContentT] | None = None

    def stored(self, partition: int) -> int | None:
        """Return the position that the store holds for a partition, as far as is known here."""
        return self._stored.get(partition)

    @property
    def owned(self) -> set[int]:
        """The partitions that this worker reads."""
        return set(self._stored)

    @property
    def waiting(self) -> set[int]:
        """The partitions with records that wait for others."""
        return self._waiting.partitions

    @property
    def flight(self) -> asyncio.Task[Any] | None:
        """What ends once the batch that was begun last has had its effect; None where it has."""
        return None if self._flight is None else self._flight.task

    async def positions(self, partitions: Iterable[int]) -> dict[int, int | None]:
        """Return the stored position of each partition; None where there is none."""
        wanted = list(partitions)
        return await self._retries.until_done("read", lambda: self._store.positions(wanted))

    async def own(self, positions: Mapping[int, int | None], caught_up: Iterable[int] = ()) -> None:
        """Take partitions from now on, each with the position that the store holds of it.

        Args:
            positions: the partitions.
            caught_up: those that have nothing to read at present.
        """
        await self._handler.own(positions)
        idle = set(caught_up)
        for partition in positions:
            self._alignment.own((self.topic, partition), partition in idle)
        self._takes.update(positions.keys())
        self._stored |= positions
        self._lost -= positions.keys()

    async def behind(self) -> list[int]:
        """Return the partitions of which the store holds less than is known here: it lost writes.

        Raises:
            StoreUnavailable: it does not answer.
        """
        known = {each: at for each, at in self._stored.items() if at is not None}
        found = await self._store.positions(known) if known else {}
        return [each for each, at in found.items() if at is None or at < known[each]]

    async def has_lost_writes(self) -> bool:
        """Whether the store lost writes of a partition that has not been taken again since.

        Raises:
            StoreUnavailable: it does not answer.
        """
        return bool(self._lost or await self.behind())

    def drop(self, partitions: Iterable[int]) -> list[int]:
        """Take some partitions no more, and return those that were taken until now."""
        mine = [each for each in partitions if each in self._stored]
        self._lost.update(mine)
        for partition in mine:
            del self._stored[partition]
            self._tell_behind(partition)
            # It has reached nothing: others must not go on as if it had.
            self._alignment.own((self.topic, partition), False)
        return mine

    def leave_all(self) -> None:
        """Take no partition any more."""
        self._stored.clear()
        self._lost.clear()
        self._waiting.clear()
        self._alignment.leave(self.topic)

    async def process(self, poll: Poll, is_left: IsLeft) -> Outcome:
        """Take a poll's records, and process all that need not wait.

        Raises:
            Interrupted: a batch was given up while a server was away.
        """
        parts: list[Consumed] = []
        epochs = {}
        for partition, part in poll.parts.items():
            if partition in self._stored and not is_left(partition, poll.epochs[partition]):
                parts.append(part)
                epochs[partition] = poll.epochs[partition]
        if parts:
            records = Consumed.joined(parts)
            content = self._handler.decode(records, poll.received_ms)
            batch = Batch(records, epochs, poll.received_ms, content)
            self._waiting.add(batch)
            self._tell_read(batch)
        return await self.advance(is_left)

    async def advance(self, is_left: IsLeft) -> Outcome:
        """Process all waiting records that need not wait any more.

        The last batch may still have to have its effect: see :attr:`flight` and :meth:`land`.

        Raises:
            Interrupted: a batch was given up while a server was away.
        """
        outcome = Outcome()
        if self._flight is not None and self._flight.task.done():
            outcome.add(await self.land())
        while True:
            self._tell_heads()
            batch = self._next(is_left)
            if batch is None and self._flight is not None and self._waiting:
                # What waits may go on once the batch before has had its effect.
                outcome.add(await self.land())
            elif batch is None:
                return outcome
            elif self._overlapping is not None:
                outcome.add(await self._begin(self._overlapping, batch, is_left))
            else:
                outcome.add(await self._handle(batch))

    async def land(self) -> Outcome:
        """Wait until the batch that was begun last has had its effect, and return what came of it.

        Raises:
            Interrupted: it was given up while a server was away.
        """
        flight = self._flight
        if flight is None:
            return Outcome()
        try:
            # Whoever waits here may be cancelled: the batch goes on.
            written = await asyncio.shield(flight.task)
        except BaseException:
            self._waiting.clear()
            raise
        finally:
            self._flight = None if flight.task.done() else flight
        return self._concluded(flight.batch, written, flight.takes)

    def landed(self) -> Outcome:
        """Return what came of the batch that was begun last, which has had its effect."""
        flight = cast(_Flight[ContentT], self._flight)
        self._flight = None
        return self._concluded(flight.batch, flight.task.result(), flight.takes)

    async def _begin(
        self, handler: Overlapping[ContentT, Any], batch: Batch[ContentT], is_left: IsLeft
    ) -> Outcome:
        """Compute a batch, wait for the one before, and send this one on its way."""
        ahead = self._flight
        coming = {} if ahead is None else ahead.batch.positions
        known, takes = {**self._stored, **coming}, self._takes.copy()
        try:
            begun = await handler.begin(batch, known, None if ahead is None else ahead.begun)
        except BaseException:
            self._waiting.clear()
            raise
        outcome = await self.land()
        is_right = all(
            self._stored.get(partition, _GONE) == known[partition]
            and self._takes[partition] == takes[partition]
            and not is_left(partition, epoch)
            for partition, epoch in batch.epochs.items()
        )
        if is_right:
            finishing = asyncio.create_task(begun.finish(dict(self._stored)))
            self._flight = _Flight(batch, begun, takes, finishing)
        else:
            # It was computed from what did not come about, or is no longer this worker's.
            self._waiting.put_back(batch)
        return outcome

    async def _handle(self, batch: Batch[ContentT]) -> Outcome:
        handler = cast(Stepwise[ContentT], self._handler)
        # A copy: a rebalance meanwhile reads the positions again.
        stored, takes = dict(self._stored), self._takes.copy()
        try:
            written = await handler.handle(batch, stored)
        except BaseException:
            self._waiting.clear()
            raise
        return self._concluded(batch, written, takes)

    def _concluded(
        self, batch: Batch[ContentT], written: Sequence[WriteOutcome], takes: Mapping[int, int]
    ) -> Outcome:
        outcome = self._conclude(written, takes)
        latest = batch.latest if self._alignment.is_on else {}
        for partition, until_ms in latest.items():
            if partition in outcome.done:
                self._alignment.processed((self.topic, partition), until_ms)
        return outcome

    def _next(self, is_left: IsLeft) -> Batch[ContentT] | None:
        """Take the next batch out of what waits."""
        if not self._waiting:
            return None

        def is_gone(partition: int, epoch: int) -> bool:
            return partition not in self._stored or is_left(partition, epoch)

        oldest_ms = self._waiting.oldest_ms if self._alignment.is_on else 0
        limit_ms = self._alignment.limit(self.topic, oldest_ms)
        return self._waiting.take(limit_ms, is_gone)

    def _tell_read(self, batch: Batch[ContentT]) -> None:
        if self._alignment.is_on:
            for partition in batch.epochs:
                self._alignment.read((self.topic, partition), partition in batch.heads)

    def _tell_heads(self) -> None:
        if not self._alignment.is_on:
            return
        heads: dict[int, int] = {}
        flying = [] if self._flight is None else [self._flight.batch]
        for batch in (*flying, *self._waiting):
            heads = batch.heads | heads
        for partition in self._stored:
            self._alignment.hold((self.topic, partition), heads.get(partition))

    def _conclude(self, outcomes: Sequence[WriteOutcome], takes: Mapping[int, int]) -> Outcome:
        outcome = Outcome()
        for each in outcomes:
            partition = each.partition
            if partition not in self._stored:
                continue
            if self._takes[partition] != takes[partition]:
                if each.done and self._stored[partition] != each.stored:
                    # Taken anew, from before this batch, while it was being written.
                    self._rewind(each, outcome)
            elif each.done:
                self._stored[partition] = each.stored
                outcome.done[partition] = each.stored or 0
            elif each.kind is WriteKind.FENCED:
                self._tell_fenced(each)
                del self._stored[partition]
                self._alignment.leave(self.topic, [partition])
                outcome.fenced.append(partition)
            else:
                self._tell_behind(partition)
                self._rewind(each, outcome)
        return outcome

    def _rewind(self, found: WriteOutcome, outcome: Outcome) -> None:
        del self._stored[found.partition]
        self._lost.add(found.partition)
        self._alignment.own((self.topic, found.partition), False)
        outcome.rewind[found.partition] = found.stored

    def _tell_fenced(self, outcome: WriteOutcome) -> None:
        if outcome.stored is None:
            logger.warning(
                "partition %d of %s belongs to another worker, which publishes its results: "
                "nothing of this batch was published or written",
                outcome.partition,
                self.topic,
            )
            return
        logger.warning(
            "partition %d of %s belongs to another worker, whose position is %s: nothing of this "
            "batch was written",
            outcome.partition,
            self.topic,
            outcome.stored,
        )

    def _tell_behind(self, partition: int) -> None:
        logger.warning(
            "partition %d of %s: the state store lost its last writes, reading them again",
            partition,
            self.topic,
        )
