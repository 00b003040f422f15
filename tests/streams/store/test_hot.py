"""States that are kept in memory: not read while they are right, forgotten when they may not be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.store.base import PartitionWrite, WriteOutcome
from streams.store.hot import HotStates, HotStore
from streams.store.memory.store import MemoryStore
from tests.streams.store.tools import APPLIED, BEHIND, FENCED, put


async def owned(behind: MemoryStore, *, most: int = 100) -> HotStore:
    """A store whose partitions 0 and 1 have just been taken."""
    store = HotStore(behind, HotStates(most))
    await store.positions([0, 1])
    return store


async def test_what_was_written_is_not_read_again() -> None:
    behind = MemoryStore()
    store = await owned(behind)
    await store.write([put(0, None, 5, a=b"mine")])
    await behind.load(0, {"a": b"not looked at", "b": b"looked at"})
    found = await store.read({0: ["b", "a", "c"]})
    assert found.states == {0: [b"looked at", b"mine", None]}
    assert found.positions == {0: 5}


async def test_an_empty_state_is_a_state() -> None:
    behind = MemoryStore()
    store = await owned(behind)
    await store.write([put(0, None, 5, a=b"")])
    await behind.load(0, {"a": b"not looked at"})
    assert (await store.read({0: ["a"]})).states == {0: [b""]}


async def test_taking_a_partition_forgets_it_and_no_other() -> None:
    behind = MemoryStore()
    store = await owned(behind)
    await store.write([put(0, None, 5, a=b"mine"), put(1, None, 5, a=b"mine")])
    await behind.load(0, {"a": b"theirs"})
    await behind.load(1, {"a": b"theirs"})
    await store.positions([0, 1])
    store.forget([0])
    assert (await store.read({0: ["a"], 1: ["a"]})).states == {0: [b"theirs"], 1: [b"mine"]}


@pytest.mark.parametrize(("theirs", "kind"), [(9, FENCED), (3, BEHIND)])
async def test_a_refused_write_forgets_the_partition(theirs: int, kind: object) -> None:
    behind = MemoryStore()
    await behind.write([put(0, None, 3, a=b"theirs")])
    store = HotStore(behind, HotStates(100))
    if theirs == 9:
        await store.positions([0])
        await store.write([put(0, 3, 5, a=b"mine")])
        await behind.write([put(0, 5, 9, a=b"theirs")])
    (outcome,) = await store.write([put(0, 5, 7, a=b"refused")])
    assert outcome == WriteOutcome(0, kind, theirs)
    assert (await store.read({0: ["a"]})).states == {0: [b"theirs"]}


async def test_a_position_that_moved_forgets_the_partition() -> None:
    """As after a store was restarted with older states: the batch is read again from there."""
    lost, behind = MemoryStore(), MemoryStore()
    store = HotStore(behind, HotStates(100))
    await store.positions([0])
    await store.write([put(0, None, 5, a=b"five")])
    await store.write([put(0, 5, 7, a=b"seven")])
    await lost.write([put(0, None, 5, a=b"five")])
    behind._partitions = lost._partitions
    assert (await store.read({0: ["a"]}, fresh=True)).positions == {0: 5}
    assert (await store.read({0: ["a"]})).states == {0: [b"five"]}


async def test_a_write_that_failed_forgets_the_partition() -> None:
    class Leaving(MemoryStore):
        is_away = False

        async def write(self, writes: Sequence[PartitionWrite]) -> list[WriteOutcome]:
            if self.is_away:
                raise ConnectionError
            return await super().write(writes)

    behind = Leaving()
    store = await owned(behind)
    await store.write([put(0, None, 5, a=b"mine")])
    await behind.load(0, {"a": b"theirs"})
    behind.is_away = True
    with pytest.raises(ConnectionError):
        await store.write([put(0, 5, 6, a=b"lost")])
    assert (await store.read({0: ["a"]})).states == {0: [b"theirs"]}


def test_no_more_than_the_number_of_accounts_is_kept() -> None:
    hot = HotStates(100)
    for at in range(1_000):
        hot.put(at % 3, {f"a{at}": b"x", "often": b"y"})
        assert len(hot) <= 101
    assert hot.get(0, ["a999", "a998", "often", "a10"]) == [b"x", None, b"y", None]


def test_states_outlive_no_copy_in_the_store() -> None:
    now_s = 0.0
    hot = HotStates(100, keep_s=10.0, clock=lambda: now_s)
    hot.put(0, {"a": b"x"})
    now_s = 5.0
    hot.put(0, {"b": b"y"})
    assert hot.get(0, ["a", "b"]) == [b"x", b"y"]
    now_s = 10.0
    assert hot.get(0, ["a", "b"]) == [None, b"y"]


STEP = st.tuples(
    st.sampled_from(["mine", "theirs", "take"]),
    st.integers(0, 1),
    st.dictionaries(st.sampled_from("abcdef"), st.binary(max_size=3), max_size=4),
)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEP, max_size=30), most=st.integers(0, 8))
def test_memory_and_store_agree_whatever_others_do(
    steps: Sequence[tuple[str, int, dict[str, bytes]]], most: int
) -> None:
    """After each write of one's own, done or refused, and after taking a partition."""

    async def walk() -> None:
        behind = MemoryStore()
        store = HotStore(behind, HotStates(most))
        known = dict(await store.positions([0, 1]))
        for at, (what, partition, states) in enumerate(steps, start=1):
            here = (await behind.positions([partition]))[partition]
            if what == "theirs":
                await behind.write([put(partition, here, at, **states)])
                continue
            if what == "take":
                known |= await store.positions([partition])
                store.forget([partition])
            else:
                (outcome,) = await store.write([put(partition, known[partition], at, **states)])
                assert outcome.done == (known[partition] == here)
                known[partition] = outcome.stored
                assert outcome.kind in (APPLIED, FENCED)
            wanted = {partition: list("abcdef")}
            assert (await store.read(wanted)).states == (await behind.read(wanted)).states

    asyncio.run(walk())
