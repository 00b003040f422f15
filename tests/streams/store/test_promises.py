"""What every state store promises, on each backend."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.store.base import PartitionWrite, Store, WriteKind, WriteOutcome
from streams.store.memory.store import MemoryStore
from streams.store.redis.store import RedisStore
from tests.streams.store.tools import APPLIED, BEHIND, FENCED, REPEATED, OpenStore, contents, put

ODD_ACCOUNTS = [
    "",
    "plain",
    "a:b:c",
    "{tag}",
    "}{",
    "*?[a]\\",
    "Überweisung-口座-🏦",
    "\ud83c",
    "a b\n\x00c",
    "x" * 256,
]


async def test_an_empty_store_knows_nothing(store: Store) -> None:
    assert await store.positions([3, 1]) == {3: None, 1: None}
    assert (await store.read({3: ["a"], 1: []})).states == {3: [None], 1: []}
    assert (await store.read({})).states == {}
    assert await store.write([]) == []
    assert await contents(store, 3) == {}
    await store.ping()


async def test_states_come_back_in_the_order_asked(store: Store) -> None:
    states = {f"a{n}": bytes([n]) for n in range(50)}
    await store.write([PartitionWrite(0, None, 50, states), put(1, None, 7, a1=b"other")])
    asked = ["a9", "nobody", "a1", "a9"]
    read = (await store.read({1: ["a1"], 0: asked})).states
    assert read == {1: [b"other"], 0: [b"\x09", None, b"\x01", b"\x09"]}
    assert list(read) == [1, 0]
    assert await store.positions([0, 1, 2]) == {0: 50, 1: 7, 2: None}


async def test_odd_accounts_and_any_bytes(store: Store) -> None:
    values = [b"", b"\x00", b"\x00\xff\r\n\x00", bytes(range(256)) * 4]
    states = {name: values[n % len(values)] for n, name in enumerate(ODD_ACCOUNTS)}
    assert (await store.write([PartitionWrite(0, None, 1, states)]))[0].done
    assert (await store.read({0: ODD_ACCOUNTS})).states == {0: list(states.values())}
    assert await contents(store, 0) == states
    assert await contents(store, 1) == {}


async def test_many_accounts_in_one_write(store: Store) -> None:
    states = {f"account-{n}": b"x" * 20 for n in range(20_000)}
    assert (await store.write([PartitionWrite(0, None, 1, states)]))[0].done
    assert (await store.read({0: list(states)})).states == {0: list(states.values())}
    assert await contents(store, 0) == states


@pytest.mark.parametrize(
    ("expected", "position", "kind"),
    [
        (10, 11, APPLIED),
        (10, 2**53 - 1, APPLIED),
        (5, 10, REPEATED),
        (None, 10, REPEATED),
        (9, 11, FENCED),
        (9, 100, FENCED),
        (None, 3, FENCED),
        (None, 0, FENCED),
        (11, 12, BEHIND),
        (100, 101, BEHIND),
    ],
)
async def test_outcomes(store: Store, expected: int | None, position: int, kind: WriteKind) -> None:
    await store.write([put(4, None, 10, a=b"old", b=b"kept")])
    outcomes = await store.write([put(4, expected, position, a=b"new")])
    stored = position if kind is APPLIED else 10
    assert outcomes == [WriteOutcome(4, kind, stored)]
    assert await store.positions([4]) == {4: stored}
    written = b"new" if kind is APPLIED else b"old"
    assert await contents(store, 4) == {"a": written, "b": b"kept"}


async def test_a_store_that_lost_everything_is_behind(store: Store) -> None:
    assert await store.write([put(0, 10, 20, a=b"a")]) == [WriteOutcome(0, BEHIND, None)]
    assert await contents(store, 0) == {}
    assert await store.positions([0]) == {0: None}


async def test_a_write_without_states_moves_the_position(store: Store) -> None:
    assert await store.write([put(0, None, 5)]) == [WriteOutcome(0, APPLIED, 5)]
    assert await store.positions([0]) == {0: 5}


async def test_a_refused_partition_does_not_stop_the_others(open_one: OpenStore) -> None:
    first, second = open_one(), open_one()
    await first.write([put(partition, None, 10, a=b"1") for partition in range(4)])
    await second.write([put(1, 10, 15, a=b"2")])
    outcomes = await first.write(
        [put(0, 10, 20, a=b"3"), put(1, 10, 20, a=b"3"), put(2, 12, 20, a=b"3"), put(3, 10, 11)]
    )
    assert outcomes == [
        WriteOutcome(0, APPLIED, 20),
        WriteOutcome(1, FENCED, 15),
        WriteOutcome(2, BEHIND, 10),
        WriteOutcome(3, APPLIED, 11),
    ]
    read = (await second.read({partition: ["a"] for partition in range(4)})).states
    assert read == {0: [b"3"], 1: [b"2"], 2: [b"1"], 3: [b"1"]}


async def test_writes_of_one_worker_follow_each_other(store: Store) -> None:
    position = None
    for step in range(1, 30):
        (outcome,) = await store.write([put(0, position, step * 3, a=bytes([step]))])
        assert outcome == WriteOutcome(0, APPLIED, step * 3)
        position = outcome.stored
    assert (await store.read({0: ["a"]})).states == {0: [bytes([29])]}


@pytest.mark.parametrize(("expected", "position"), [(5, 5), (5, 4), (None, -1)])
def test_a_write_must_move_forward(expected: int | None, position: int) -> None:
    with pytest.raises(ValueError, match="forward"):
        put(0, expected, position)


# A random walk: the dictionary is the reference for script and transaction.

POSITIONS = st.integers(0, 5)
WRITE = st.builds(
    lambda partition, expected, step, states: PartitionWrite(
        partition, expected, (expected or 0) + step, states
    ),
    st.integers(0, 1),
    st.none() | POSITIONS,
    st.integers(1, 3),
    st.dictionaries(st.sampled_from("abc"), st.binary(max_size=4), max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(
    calls=st.lists(st.tuples(st.integers(0, 1), st.lists(WRITE, max_size=3)), max_size=12),
    expire_s=st.sampled_from([None, 1_000]),
)
def test_redis_does_what_memory_does(
    valkey_url: str, calls: Sequence[tuple[int, Sequence[PartitionWrite]]], expire_s: int | None
) -> None:
    """Two workers write, each what it likes."""

    async def compare() -> None:
        model, namespace = MemoryStore(), uuid.uuid4().hex
        workers = [RedisStore(valkey_url, namespace=namespace, expire_s=expire_s) for _ in range(2)]
        for worker, writes in calls:
            assert await workers[worker].write(writes) == await model.write(writes)
        real = workers[0]
        assert await real.positions([0, 1]) == await model.positions([0, 1])
        wanted = {0: ["a", "b", "c"], 1: ["c", "a", "b"]}
        assert (await real.read(wanted)).states == (await model.read(wanted)).states
        for each in workers:
            await each.close()

    asyncio.run(compare())
