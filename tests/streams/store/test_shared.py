"""One promise, two backends: what holds of shared entities in memory holds in Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from engine import buckets as ring
from engine.buckets import Additions
from engine.errors import StoreUnavailable
from streams.embedded.processes import choose_port
from streams.store.memory.shared import MemorySharedStore
from streams.store.redis.shared import RedisSharedStore
from streams.store.shared import ShardAdd, SharedStore, shard_of
from tests.bundles import SHARED, TERMINAL

SHARDS = 4
NAMES = [each.name for each in SHARED]
#: Of the shards 0, 1 and 3; the last is negative.
HASHES = (4, 1, -1)

Opened = Callable[[], SharedStore]


def in_redis(url: str, namespace: str | None = None) -> RedisSharedStore:
    return RedisSharedStore(
        url, SHARED, namespace=namespace or uuid4().hex, shards=SHARDS, keep_s=60
    )


def in_memory() -> MemorySharedStore:
    return MemorySharedStore(SHARED, SHARDS)


@asynccontextmanager
async def closing(store: SharedStore) -> AsyncIterator[SharedStore]:
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(params=["memory", "valkey"])
def run(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Run a test's coroutine with a fresh store of each backend."""
    url = request.getfixturevalue("valkey_url") if request.param == "valkey" else None

    def run_with_store(test: Callable[[SharedStore], Awaitable[None]]) -> None:
        async def main() -> None:
            async with closing(in_redis(url) if url else in_memory()) as store:
                await test(store)

        asyncio.run(main())

    return run_with_store


def added(rows: list[tuple[int, int, int]], columns: int) -> Additions:
    """Additions of ``(entity, bucket, sum)``, the sum to every quantity."""
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    amounts = np.repeat(table[:, 2:], columns, axis=1).astype(np.float32)
    return Additions.summed(table[:, 0], table[:, 1], amounts)


def one(expected: int | None, position: int, sum_: int = 1, shard: int = 0) -> ShardAdd:
    additions = {"terminal": added([(HASHES[0], 20_000, sum_)], 4)}
    return ShardAdd((shard, "events", 2), expected, position, additions, {HASHES[0]: b"entry"})


def note(entries: dict[int, bytes], expected: int | None = None, position: int = 1) -> ShardAdd:
    source = (0, "labels#notes", 0)
    return ShardAdd(source, expected, position, entries=entries, known_only=True)


async def total(store: SharedStore) -> float:
    (found,) = (await store.rings({"terminal": np.array(HASHES[:1])}))["terminal"]
    if found is None:
        return 0.0
    return float(np.frombuffer(found, ring.record(TERMINAL))["rows"][0, :, 0].sum())


def test_nothing_is_there_at_first(run: Callable[..., None]) -> None:
    async def check(store: SharedStore) -> None:
        assert await store.positions([(0, "events", 2)]) == {(0, "events", 2): None}
        assert await store.rings({"terminal": np.array(HASHES), "holder": np.array([], int)}) == {
            "terminal": [None] * 3,
            "holder": [],
        }
        assert await store.entries(HASHES) == [None] * 3
        assert [each async for each in store.every_ring("terminal")] == []

    run(check)


def test_an_addition_and_its_position_come_together_and_once(run: Callable[..., None]) -> None:
    async def check(store: SharedStore) -> None:
        assert await store.add([one(None, 10)]) == [10]
        # Sent again, since the answer got lost.
        assert await store.add([one(None, 10)]) == [10]
        assert await total(store) == 1
        assert await store.add([one(10, 20, 5)]) == [20]
        assert await total(store) == 6
        assert await store.positions([(0, "events", 2), (1, "events", 2), (0, "labels", 2)]) == {
            (0, "events", 2): 20,
            (1, "events", 2): None,
            (0, "labels", 2): None,
        }

    run(check)


@pytest.mark.parametrize(("expected", "position"), [(10, 30), (None, 30), (25, 30)])
def test_an_addition_from_another_position_changes_nothing(
    run: Callable[..., None], expected: int | None, position: int
) -> None:
    async def check(store: SharedStore) -> None:
        await store.add([one(None, 20)])
        assert await store.add([one(expected, position)]) == [20]
        assert await total(store) == 1

    run(check)


def test_entries_are_changed_only_where_they_are_known(run: Callable[..., None]) -> None:
    async def check(store: SharedStore) -> None:
        await store.add([one(None, 10)])
        assert await store.entries(HASHES) == [b"entry", None, None]
        known = note({HASHES[0]: b"other", HASHES[0] + SHARDS: b"stranger"})
        assert await store.add([known]) == [1]
        assert await store.entries([*HASHES, HASHES[0] + SHARDS]) == [b"other", None, None, None]
        # A worker that has lost its partition writes nothing older over it.
        assert await store.add([note({HASHES[0]: b"late"}, None, 5)]) == [1]
        assert await store.entries(HASHES[:1]) == [b"other"]

    run(check)


ADDS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(HASHES),
        st.integers(20_000, 20_016),
        st.integers(-2, 5),
    ),
    max_size=12,
)


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(ADDS, max_size=5))
def test_both_backends_add_alike(
    valkey_url: str, steps: list[list[tuple[str, int, int, int]]]
) -> None:
    async def compare() -> None:
        async with closing(in_redis(valkey_url)) as valkey, closing(in_memory()) as memory:
            for step, rows in enumerate(steps):
                adds = [
                    ShardAdd((shard, "events", 0), step or None, step + 1, additions_of(shard))
                    for shard in range(SHARDS)
                    for additions_of in [lambda shard, rows=rows: by_kind(rows, shard)]
                ]
                assert await valkey.add(adds) == await memory.add(adds)
            wanted = {name: np.array(HASHES) for name in NAMES}
            assert await valkey.rings(wanted) == await memory.rings(wanted)
            for name in NAMES:
                found = {each async for each in valkey.every_ring(name)}
                assert found == {each async for each in memory.every_ring(name)}

    asyncio.run(compare())


def by_kind(rows: list[tuple[str, int, int, int]], shard: int) -> dict[str, Additions]:
    kinds = {each.name: len(each.quantities) for each in SHARED}
    return {
        name: added(
            [row[1:] for row in rows if row[0] == name and shard_of(row[1], SHARDS) == shard],
            width,
        )
        for name, width in kinds.items()
    }


def test_fractions_are_added_as_the_core_adds_them(valkey_url: str) -> None:
    rng = np.random.default_rng(0)

    async def compare() -> None:
        async with closing(in_redis(valkey_url)) as valkey, closing(in_memory()) as memory:
            for step in range(20):
                amounts = rng.lognormal(3, 2, (1, 4)).astype(np.float32)
                additions = Additions(np.array([4]), np.array([20_000 + step // 4]), amounts)
                add = ShardAdd((0, "e", 0), step or None, step + 1, {"terminal": additions})
                assert await valkey.add([add]) == await memory.add([add])
            wanted = {"terminal": np.array([4])}
            raw = [(await each.rings(wanted))["terminal"][0] for each in (valkey, memory)]
            a, b = (np.frombuffer(each or b"", ring.record(TERMINAL)) for each in raw)
            assert_array_equal(a["rows"], b["rows"])

    asyncio.run(compare())


def test_idle_rings_entries_and_nothing_else_expire(valkey_url: str) -> None:
    async def check() -> None:
        async with closing(in_redis(valkey_url, "ttl")) as store:
            assert isinstance(store, RedisSharedStore)
            additions = {
                "terminal": added([(4, 20_000, 1)], 4),
                "holder": added([(4, 80_000, 1)], 1),
            }
            await store.add([ShardAdd((0, "e", 0), None, 1, additions, {4: b"x"})])
            await store.add([note({4: b"y"})])
            keys = sorted([key async for key in store._client.scan(b"rs:{ttl.4:s0}:*")])
            assert [key.split(b"}:")[1] for key in keys] == [
                b"at:e",
                b"at:labels#notes",
                b"event:0000000000000004",
                b"holder:0000000000000004",
                b"terminal:0000000000000004",
            ]
            seconds = await store._client.send([("TTL", key) for key in keys])
            left = [86_400 // 4 * 12, 86_400 * 8]
            assert seconds[:2] == [-1, -1]
            for found, most in zip(seconds[2:], [60, *left], strict=True):
                assert isinstance(found, int)
                assert most - 30 < found <= most

    asyncio.run(check())


def test_another_number_of_shards_sees_nothing(valkey_url: str) -> None:
    async def check() -> None:
        async with closing(in_redis(valkey_url, "decl")) as store:
            await store.add([one(None, 10)])
        store = RedisSharedStore(valkey_url, SHARED, namespace="decl", shards=SHARDS * 2, keep_s=60)
        async with closing(store):
            assert await store.rings({"terminal": np.array(HASHES[:1])}) == {"terminal": [None]}

    asyncio.run(check())


def test_workers_hear_each_others_clocks(run: Callable[..., None]) -> None:
    async def check(store: SharedStore) -> None:
        assert await store.clocks({}) == {}
        assert await store.clocks({"events:0": b"1"}) == {"events:0": b"1"}
        assert await store.clocks({"labels:1": b"2"}) == {"events:0": b"1", "labels:1": b"2"}
        assert await store.clocks({"events:0": b"3"}) == {"events:0": b"3", "labels:1": b"2"}

    run(check)


def test_a_store_that_is_away_is_said() -> None:
    async def check() -> None:
        async with closing(in_redis(f"redis://127.0.0.1:{choose_port()}/0")) as store:
            for call in (
                store.positions([(0, "e", 0)]),
                store.rings({"terminal": np.array([1])}),
                store.add([one(None, 1)]),
                store.entries([1]),
            ):
                with pytest.raises(StoreUnavailable, match=r"state store must be reachable"):
                    await call

    asyncio.run(check())
