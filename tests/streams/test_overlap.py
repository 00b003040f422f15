"""A batch is computed while the one before has its effect, and only if that came about."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.shared import SharedEntity
from streams.alignment import Alignment
from streams.batch import Batch
from streams.handling import Outcome
from streams.lane import Lane
from streams.metrics import Metrics
from streams.processor import _as_coming
from streams.retries import Interrupted, Retries
from streams.store.base import PartitionWrite, WriteOutcome, moved_from
from streams.store.hot import HotStates, HotStore
from streams.store.memory.store import MemoryStore
from tests.bundles import SHARED
from tests.streams.test_lane import START, TOPIC, Noting, Times, poll_of


def chain(state: bytes | None, offsets: Iterable[int]) -> bytes:
    """A state that tells which records it was made of, and in which order."""
    return b" ".join([*([state] if state else []), *(b"%d" % each for each in offsets)])


@dataclass
class Computed:
    """A batch's new states, made of those before it."""

    store: HotStore
    batch: Batch[Times]
    stored: Mapping[int, int | None]
    moved: list[WriteOutcome]
    states: Mapping[int, bytes]
    steps: int
    error: Exception | None
    is_flying: list[Computed]

    async def finish(self, stored: Mapping[int, int | None]) -> list[WriteOutcome]:
        assert not self.is_flying, "two batches had their effect at once"
        self.is_flying.append(self)
        for _ in range(self.steps):
            await asyncio.sleep(0)
        self.is_flying.clear()
        if self.error:
            raise self.error
        writes = [
            PartitionWrite(each, stored[each], position, {"a": self.states[each]})
            for each, position in self.batch.positions.items()
            if each in self.states
        ]
        return self.moved + await self.store.write(writes)


@dataclass
class Chaining:
    """A handler that overlaps."""

    store: HotStore
    steps: list[int] = field(default_factory=list)
    overlapped: int = 0
    errors: list[Exception] = field(default_factory=list)
    is_flying: list[Computed] = field(default_factory=list)

    decode = Noting.decode

    async def own(self, partitions: Iterable[int]) -> None:
        pass

    async def begin(
        self, batch: Batch[Times], stored: Mapping[int, int | None], ahead: Computed | None
    ) -> Computed:
        coming = {} if ahead is None else ahead.states
        found = await self.store.read({each: ["a"] for each in batch.positions})
        # As the processor does: nothing is made of states that are not of the position known.
        moved = moved_from(stored, _as_coming(found.positions, stored, ahead))
        states = {}
        for partition in batch.positions.keys() - {each.partition for each in moved}:
            offsets = batch.offsets[batch.partitions == partition].tolist()
            before = coming.get(partition, found.states[partition][0])
            states[partition] = chain(before, offsets)
        await asyncio.sleep(0)
        self.overlapped += bool(self.is_flying)
        error = self.errors.pop() if self.errors else None
        steps = self.steps.pop() if self.steps else 3
        return Computed(self.store, batch, stored, moved, states, steps, error, self.is_flying)


class Worker:
    """A lane, and a topic that is read again from where the lane says."""

    def __init__(self, steps: Sequence[int] = (), shared: Sequence[SharedEntity] = ()) -> None:
        self.behind = MemoryStore()
        self.store = HotStore(self.behind, HotStates(100))
        self.alignment = Alignment(shared, TOPIC, 0, idle_s=1e6, stale_s=1e6)
        self.handler = Chaining(self.store, list(steps))
        retries = Retries(Metrics())
        self.lane: Lane[Times] = Lane(
            TOPIC, self.store, self.handler, self.alignment, retries, max_batch=4
        )
        self.at: dict[int, int] = {}
        self.epochs: dict[int, int] = {}

    async def own(self, *partitions: int) -> None:
        found = await self.lane.positions(partitions)
        await self.lane.own(found)
        self.alignment.hear({})
        for partition, position in found.items():
            self.at[partition] = position or 0
            self.epochs[partition] = self.epochs.get(partition, 0) + 1

    async def poll(self, sizes: Mapping[int, int]) -> None:
        times = {partition: [START] * size for partition, size in sizes.items()}
        polled = poll_of(times, self.at)
        polled.epochs = {each: self.epochs[each] for each in sizes}
        await self.follow(await self.lane.process(polled, self.is_left))

    def is_left(self, partition: int, epoch: int) -> bool:
        return self.epochs[partition] != epoch

    async def follow(self, outcome: Outcome) -> None:
        gone = [*outcome.rewind, *outcome.fenced]
        for partition in gone:
            self.epochs[partition] += 1
        await self.own(*gone)

    async def end(self) -> None:
        await self.follow(await self.lane.land())
        await self.follow(await self.lane.advance(self.is_left))
        await self.follow(await self.lane.land())


#: What happens to a partition: records come, the store loses its last write, another writes.
STEPS = st.lists(
    st.tuples(st.sampled_from(["records"] * 6 + ["lost", "other"]), st.integers(0, 2)),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.lists(st.integers(0, 6), max_size=40))
def test_every_state_is_made_of_all_records_before_its_position(
    steps: Sequence[tuple[str, int]], waits: Sequence[int]
) -> None:
    async def run() -> None:
        worker = Worker(waits)
        await worker.own(0, 1, 2)
        for what, partition in steps:
            kept = worker.behind._partitions
            if what == "records":
                await worker.poll({partition: 2, (partition + 1) % 3: 1})
            elif what == "lost":
                kept.pop(partition, None)
            else:
                here = (await worker.behind.positions([partition]))[partition] or 0
                state = chain(None, range(here + 3))
                await worker.behind.write(
                    [PartitionWrite(partition, here or None, here + 3, {"a": state})]
                )
        await worker.end()
        for partition, kept_one in worker.behind._partitions.items():
            offsets = range(kept_one.position or 0)
            assert kept_one.states.get("a", b"") == chain(None, offsets), partition

    asyncio.run(run())


async def test_batches_overlap_and_follow_each_other() -> None:
    worker = Worker()
    await worker.own(0, 1)
    for _ in range(10):
        await worker.poll({0: 2, 1: 1})
    assert worker.lane.flight is not None
    await worker.end()
    assert worker.handler.overlapped > 5
    assert await worker.behind.positions([0, 1]) == {0: 20, 1: 10}
    assert worker.lane.flight is None


async def test_a_batch_in_flight_holds_up_others_until_it_had_its_effect() -> None:
    worker = Worker([10], SHARED)
    await worker.own(0)
    await worker.poll({0: 2})
    (clock,) = worker.alignment.mine().values()
    assert clock.time_ms == START
    assert clock.quiet_ms is None
    await worker.end()
    assert worker.alignment.mine()[TOPIC, 0].time_ms == START


async def test_a_batch_that_is_given_up_in_flight_takes_the_next_with_it() -> None:
    worker = Worker()
    worker.handler.errors = [Interrupted("the server is away")]
    await worker.own(0)
    await worker.poll({0: 2})
    with pytest.raises(Interrupted):
        await worker.poll({0: 2})
    assert worker.lane.waiting == set()
    assert worker.lane.flight is None
    assert await worker.behind.positions([0]) == {0: None}
    await worker.own(0)
    await worker.poll({0: 4})
    await worker.end()
    assert (await worker.behind.read({0: ["a"]})).states == {0: [b"0 1 2 3"]}


async def test_partitions_that_leave_while_a_batch_is_computed_have_no_effect() -> None:
    worker = Worker()
    await worker.own(0, 1)
    await worker.poll({0: 1, 1: 1})
    times = {0: [START], 1: [START]}
    polled = poll_of(times, worker.at)
    taking = asyncio.create_task(worker.lane.process(polled, lambda partition, _: partition == 0))
    await worker.follow(await taking)
    await worker.end()
    assert await worker.behind.positions([0, 1]) == {0: 1, 1: 2}
