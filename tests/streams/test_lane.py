"""The lane of a topic: what waits, what goes on, and in which order."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streams.alignment import Alignment
from streams.batch import Batch
from streams.consumed import Consumed
from streams.lane import Lane
from streams.metrics import Metrics
from streams.polls import Poll
from streams.retries import Interrupted, Retries
from streams.store.base import PartitionWrite, WriteOutcome
from streams.store.memory.store import MemoryStore
from tests.bundles import SHARED

DAY_MS = 86_400_000
START = 20_000 * DAY_MS
TOPIC = "events"


@dataclass(frozen=True)
class Times:
    """What records say here: an event time each, or nothing that can be read."""

    rows: NDArray[np.int64]
    time_ms: NDArray[np.int64]

    def part(self, keep: NDArray[np.bool_]) -> Times:
        mine = keep[self.rows]
        return Times((np.cumsum(keep) - 1)[self.rows[mine]], self.time_ms[mine])

    @classmethod
    def joined(cls, parts: Sequence[Times], sizes: Sequence[int]) -> Times:
        starts = np.cumsum([0, *sizes])
        rows = [each.rows + at for each, at in zip(parts, starts, strict=False)]
        return cls(np.concatenate(rows), np.concatenate([each.time_ms for each in parts]))


@dataclass
class Noting:
    """A handler that notes what it is given, and moves positions on in the store."""

    store: MemoryStore
    seen: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    sizes: list[int] = field(default_factory=list)
    before_write: Callable[[], Any] | None = None

    def decode(self, records: Consumed, received_ms: int) -> Times:
        said = [(row, int(each)) for row, each in enumerate(records.values) if each]
        table = np.array(said, dtype=np.int64).reshape(-1, 2)
        return Times(table[:, 0], table[:, 1])

    async def own(self, partitions: Iterable[int]) -> None:
        pass

    async def handle(
        self, batch: Batch[Times], stored: Mapping[int, int | None]
    ) -> list[WriteOutcome]:
        values = [int(batch.records.values[row] or b"") for row in batch.content.rows.tolist()]
        assert values == batch.content.time_ms.tolist()
        self.sizes.append(len(batch))
        if self.before_write is not None:
            action, self.before_write = self.before_write, None
            await action()
        outcomes = await self.store.write(
            [
                PartitionWrite(partition, stored[partition], position, {})
                for partition, position in batch.positions.items()
            ]
        )
        done = {each.partition for each in outcomes if each.done}
        at = zip(batch.partitions.tolist(), batch.offsets.tolist(), strict=True)
        for partition, offset in at:
            if partition in done:
                self.seen[partition].append(offset)
        return outcomes


def records_of(partition: int, start: int, times: Sequence[int | None]) -> Consumed:
    """The records of a partition from an offset on, each with an event time or unreadable."""
    n = len(times)
    return Consumed(
        TOPIC,
        np.full(n, partition, dtype=np.int64),
        np.arange(start, start + n, dtype=np.int64),
        np.zeros(n, dtype=np.int64),
        [None] * n,
        [b"" if each is None else str(each).encode() for each in times],
    )


def poll_of(times: Mapping[int, Sequence[int | None]], at: dict[int, int], epoch: int = 1) -> Poll:
    """A poll of records with these event times, from each partition's offset on, which it moves."""
    parts = {}
    for partition, each in times.items():
        start = at.get(partition, 0)
        parts[partition] = records_of(partition, start, each)
        at[partition] = start + len(each)
    return Poll(TOPIC, parts, dict.fromkeys(parts, epoch), 0)


def never(partition: int, epoch: int) -> bool:
    return False


class Harness:
    """A lane with all that it needs."""

    def __init__(self, max_batch: int = 1_000) -> None:
        self.store = MemoryStore()
        self.alignment = Alignment(SHARED, TOPIC, 3_600_000, idle_s=1e6, stale_s=1e6)
        self.handler = Noting(self.store)
        retries = Retries(Metrics())
        self.lane: Lane[Times] = Lane(
            TOPIC, self.store, self.handler, self.alignment, retries, max_batch
        )
        self.at: dict[int, int] = {}

    async def own(self, *partitions: int, idle: bool = False) -> None:
        found = await self.lane.positions(partitions)
        await self.lane.own(found, partitions if idle else ())
        self.alignment.hear({})

    def poll(self, **times: Sequence[int | None]) -> Poll:
        return poll_of({int(name[1:]): each for name, each in times.items()}, self.at)


#: Polls: for some partitions, the event times of their records in hours from the start.
POLLS = st.lists(
    st.dictionaries(
        st.integers(0, 2),
        st.lists(st.none() | st.integers(0, 24 * 6), min_size=1, max_size=5),
        min_size=1,
    ),
    max_size=12,
)


@given(POLLS, st.integers(1, 7), st.data())
def test_every_record_is_handled_once_and_in_order_whatever_waits(
    polls: list[dict[int, list[int | None]]], max_batch: int, data: st.DataObject
) -> None:
    async def run() -> None:
        h = Harness(max_batch)
        await h.own(0, 1, 2)
        for poll in polls:
            # As the transport does: what waits is not polled.
            times = {
                partition: [None if each is None else START + each * 3_600_000 for each in hours]
                for partition, hours in poll.items()
                if partition not in h.lane.waiting
            }
            outcome = await h.lane.process(poll_of(times, h.at), never)
            assert not outcome.rewind
            assert not outcome.fenced
            handled = sum(map(len, h.handler.seen.values()))
            assert handled + sum(map(len, h.lane._waiting)) == sum(h.at.values())
            for partition, offsets in h.handler.seen.items():
                assert offsets == list(range(len(offsets)))
                assert h.lane.stored(partition) == (len(offsets) or None)
        # Now those that have nothing to read hold up nobody.
        h.alignment._idle_ms = -(10**12)
        for partition in (0, 1, 2):
            h.alignment._quiet_ms[TOPIC, partition] = 0
        steps = 0
        while h.lane.waiting:
            waiting = sum(map(len, h.lane._waiting))
            await h.lane.advance(never)
            assert sum(map(len, h.lane._waiting)) < waiting
            steps += 1
        assert h.handler.seen == {p: list(range(end)) for p, end in h.at.items() if end}

    asyncio.run(run())


async def test_the_fast_partition_waits_for_the_slow_one() -> None:
    h = Harness()
    await h.own(0, 1)
    await h.lane.process(h.poll(p0=[START, START + DAY_MS], p1=[START + 5_000]), never)
    assert h.handler.seen == {0: [0], 1: [0]}
    assert h.lane.waiting == {0}
    await h.lane.process(h.poll(p1=[START + DAY_MS + 1]), never)
    assert h.handler.seen == {0: [0, 1], 1: [0, 1]}
    assert h.lane.waiting == set()


async def test_records_after_one_that_waits_wait_too_even_what_cannot_be_read() -> None:
    h = Harness()
    await h.own(0, 1)
    await h.lane.process(h.poll(p0=[None, START + DAY_MS, START, None], p1=[START]), never)
    assert h.handler.seen == {0: [0], 1: [0]}
    await h.lane.process(h.poll(p0=[None, START]), never)
    assert h.handler.seen[0] == [0]
    await h.lane.process(h.poll(p1=[START + DAY_MS]), never)
    assert h.handler.seen[0] == [0, 1, 2, 3, 4, 5]


async def test_nothing_is_taken_before_other_workers_were_heard() -> None:
    h = Harness()
    await h.lane.own({0: None})
    await h.lane.process(h.poll(p0=[START]), never)
    assert h.lane.waiting == {0}
    h.alignment.hear({})
    await h.lane.advance(never)
    assert h.handler.seen == {0: [0]}


async def test_partitions_that_leave_are_dropped() -> None:
    h = Harness()
    await h.own(0, 1)
    await h.lane.process(h.poll(p0=[START + DAY_MS], p1=[START + 2 * DAY_MS, START]), never)
    assert h.lane.waiting == {1}
    outcome = await h.lane.advance(lambda partition, epoch: partition == 1)
    assert (outcome.done, h.lane.waiting) == ({}, set())
    await h.lane.process(h.poll(p2=[START]), never)
    assert h.handler.seen == {0: [0]}
    h.lane.leave_all()
    assert (h.lane.owned, h.alignment.mine()) == (set(), {})


async def test_what_waits_is_dropped_with_the_last_partition() -> None:
    h = Harness()
    await h.own(0, 1)
    await h.lane.process(h.poll(p0=[START + 2 * DAY_MS]), never)
    assert h.lane.waiting == {0}
    h.lane.leave_all()
    assert h.lane.waiting == set()
    assert (await h.lane.advance(never)).done == {}


async def test_less_than_two_polls_go_together() -> None:
    h = Harness(max_batch=4)
    await h.own(0, 1)
    for start in range(0, 12, 4):
        await h.lane.process(h.poll(p0=[START + DAY_MS + start + each for each in range(4)]), never)
    assert h.handler.sizes == []
    await h.lane.process(h.poll(p1=[START + DAY_MS]), never)
    assert sum(h.handler.sizes) == 13
    assert max(h.handler.sizes) < 2 * 4
    assert h.handler.seen[0] == list(range(12))


async def test_a_partition_that_another_worker_wrote_to_is_fenced_and_holds_nobody() -> None:
    h = Harness()
    await h.own(0, 1)
    await h.store.write([PartitionWrite(0, None, 50, {})])
    outcome = await h.lane.process(h.poll(p0=[START], p1=[START + 1]), never)
    assert (outcome.done, outcome.rewind, outcome.fenced) == ({1: 1}, {}, [0])
    assert h.lane.owned == {1}
    assert h.alignment.mine().keys() == {(TOPIC, 1)}


async def test_a_store_that_is_behind_has_its_partition_read_again() -> None:
    h = Harness()
    await h.own(0)
    await h.lane.process(h.poll(p0=[START]), never)
    h.store._partitions.clear()
    outcome = await h.lane.process(h.poll(p0=[START + 1]), never)
    assert (outcome.done, outcome.rewind, outcome.fenced) == ({}, {0: None}, [])
    assert h.lane.owned == set()


@pytest.mark.parametrize("noticed_by", ["a batch", "a look"])
async def test_lost_writes_are_known_until_their_partition_is_taken_again(noticed_by: str) -> None:
    h = Harness()
    await h.own(0)
    await h.lane.process(h.poll(p0=[START]), never)
    assert not await h.lane.has_lost_writes()
    h.store._partitions.clear()
    assert await h.lane.has_lost_writes()
    if noticed_by == "a batch":
        await h.lane.process(h.poll(p0=[START + 1]), never)
    else:
        assert h.lane.drop(await h.lane.behind()) == [0]
    # Others must not take what the store lacks for what never was, such as labels' events.
    assert await h.lane.has_lost_writes()
    await h.own(0)
    assert not await h.lane.has_lost_writes()


async def test_a_rebalance_while_a_batch_is_written_reads_from_after_it() -> None:
    h = Harness()
    await h.own(0)

    async def rebalance() -> None:
        h.lane.leave_all()
        await h.own(0)

    h.handler.before_write = rebalance
    outcome = await h.lane.process(h.poll(p0=[START, START + 1]), never)
    # The position was read before the write: the consumer goes back to the beginning.
    assert (outcome.done, outcome.rewind, outcome.fenced) == ({}, {0: 2}, [])
    assert h.lane.owned == set()


async def test_a_rebalance_that_saw_the_write_goes_on() -> None:
    h = Harness()
    await h.own(0)

    async def rebalance() -> None:
        await h.store.write([PartitionWrite(0, None, 2, {})])
        h.lane.leave_all()
        await h.own(0)

    h.handler.before_write = rebalance
    outcome = await h.lane.process(h.poll(p0=[START, START + 1]), never)
    assert (outcome.done, outcome.rewind, outcome.fenced) == ({}, {}, [])
    assert h.lane.stored(0) == 2


@pytest.mark.parametrize("is_back", [True, False])
async def test_a_fence_from_before_a_rebalance_says_nothing_of_what_comes_after(
    is_back: bool,
) -> None:
    h = Harness()
    await h.own(0)

    async def rebalance() -> None:
        await h.store.write([PartitionWrite(0, None, 70, {})])
        h.lane.leave_all()
        if is_back:
            await h.own(0)

    h.handler.before_write = rebalance
    outcome = await h.lane.process(h.poll(p0=[START]), never)
    assert (outcome.done, outcome.rewind, outcome.fenced) == ({}, {}, [])
    assert h.lane.owned == ({0} if is_back else set())
    assert h.lane.stored(0) == (70 if is_back else None)


async def test_a_batch_that_is_given_up_takes_what_waits_with_it() -> None:
    h = Harness()
    await h.own(0, 1)

    async def give_up() -> None:
        raise Interrupted("the server is away")

    h.handler.before_write = give_up
    with pytest.raises(Interrupted):
        await h.lane.process(h.poll(p0=[START, START + DAY_MS], p1=[START]), never)
    assert h.lane.waiting == set()
    assert h.handler.seen == {}
    # Until they are read again, they hold up the others as before.
    assert {each.time_ms for each in h.alignment.mine().values()} == {START}
