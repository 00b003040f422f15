"""Additions to shared entities are made once: whoever makes them, wherever it was cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import buckets as ring
from engine.additions import Labels, of_events
from engine.columns import Columns
from engine.decode import Decoder
from engine.labels import LabelReader
from engine.schema import Field, FieldType, Role, Schema
from engine.shared import Measure, Quantity, Source
from streams.metrics import Metrics
from streams.retries import Retries
from streams.shared import Part, SharedState, StoreBehind
from streams.store.memory.shared import MemorySharedStore
from streams.store.redis.shared import RedisSharedStore
from streams.store.shared import ShardAdd, SharedStore
from tests.bundles import ACCOUNT, SCHEMA, SHARED, TERMINAL
from tests.engine.tools import NOW_MS, payment, pieces

DAY_MS = 86_400_000
SHARDS = 3
TOPIC = "events"
PARTITION = 1

Opened = Callable[[], SharedStore]


@pytest.fixture(params=["memory", "valkey"])
def opened(request: pytest.FixtureRequest) -> Opened:
    """A factory of fresh stores of each backend."""
    if request.param == "memory":
        return lambda: MemorySharedStore(SHARED, SHARDS)
    url = request.getfixturevalue("valkey_url")
    return lambda: RedisSharedStore(url, SHARED, namespace=uuid4().hex, shards=SHARDS, keep_s=60)


def run(opened: Opened, test: Callable[[SharedStore], Awaitable[None]]) -> None:
    async def main() -> None:
        store = opened()
        try:
            await test(store)
        finally:
            await store.close()

    asyncio.run(main())


async def no() -> bool:
    """The positions of partitions are there."""
    return False


async def yes() -> bool:
    """The store has lost the positions of partitions too."""
    return True


class Crash(Exception):
    """The worker dies."""


class Dying:
    """A store whose worker dies once some of the additions of a call were made."""

    def __init__(self, store: SharedStore, calls: int, made: int) -> None:
        self._store, self._calls, self._made = store, calls, made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def add(self, adds: Sequence[ShardAdd]) -> list[int | None]:
        if self._calls > 0:
            self._calls -= 1
            return await self._store.add(adds)
        await self._store.add(adds[: self._made])
        raise Crash


def state(store: Any, metrics: Metrics | None = None, schema: Schema = SCHEMA) -> SharedState:
    metrics = metrics or Metrics()
    reader = LabelReader(schema, SHARED, max_bytes=1_000, max_future_ms=0)
    return SharedState(schema, SHARED, store, reader, Retries(metrics), metrics)


def events_of(terminals: Sequence[int]) -> Columns:
    """An event an hour, at these terminals."""
    start_ms = NOW_MS - len(terminals) * 3_600_000
    values = [
        orjson.dumps(
            payment(
                transaction_id=f"t{at}",
                time=str(np.datetime64(start_ms + at * 3_600_000, "ms")),
                terminal_id=f"p{terminal}",
                card_id=f"c{at % 5}",
                amount=float(at + 1),
            )
        )
        for at, terminal in enumerate(terminals)
    ]
    decoded = Decoder(SCHEMA).decode(values, NOW_MS)
    assert not decoded.rejects
    return decoded.columns


def labels_of(columns: Columns) -> Labels:
    positive = (np.arange(len(columns)) % 2).astype(np.float32)
    return Labels.of(SCHEMA, columns, positive, columns.event_time_ms + 60_000)


Added = Columns | Labels


def part(mine: SharedState, source: Added, piece: slice, counted: Any = None) -> Part:
    """What one batch adds: the offsets are the places in the source."""
    offsets = np.arange(piece.start, piece.stop)
    if isinstance(source, Labels):
        content = mine.of_labels(source.take(offsets), offsets)
    else:
        counts = np.ones(len(source), dtype=np.bool_) if counted is None else counted
        content = mine.of_events(source.take(offsets), offsets, counts[offsets])
    return Part(piece.start, piece.stop, content)


async def add_all(mine: SharedState, source: Added, cuts: Sequence[int], since: int = 0) -> None:
    await mine.own(TOPIC, [PARTITION])
    for piece in pieces(len(source), cuts):
        first = max(piece.start, since)
        if first < piece.stop:
            await mine.add(TOPIC, {PARTITION: part(mine, source, slice(first, piece.stop))}, no)


async def rings_of(store: SharedStore) -> dict[str, dict[int, bytes]]:
    return {
        each.name: {key: value async for key, value in store.every_ring(each.name)}
        for each in SHARED
    }


async def once(source: Added) -> dict[str, dict[int, bytes]]:
    store = MemorySharedStore(SHARED, SHARDS)
    await add_all(state(store), source, [])
    return await rings_of(store)


TERMINALS = st.lists(st.integers(0, 6), min_size=1, max_size=24)
CUTS = st.lists(st.integers(0, 24), max_size=6)
MANY = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@MANY
@given(TERMINALS, CUTS, CUTS, st.integers(0, 6), st.integers(0, SHARDS), st.booleans())
def test_a_crash_between_shards_and_other_batches_afterwards_add_once(
    opened: Opened,
    terminals: list[int],
    cuts: list[int],
    others: list[int],
    calls: int,
    made: int,
    is_label: bool,
) -> None:
    source: Added = labels_of(events_of(terminals)) if is_label else events_of(terminals)

    async def check(store: SharedStore) -> None:
        dying = state(Dying(store, calls, made))
        await dying.own(TOPIC, [PARTITION])
        written = 0
        try:
            for piece in pieces(len(source), cuts):
                if piece.start < piece.stop:
                    await dying.add(TOPIC, {PARTITION: part(dying, source, piece)}, no)
                    written = piece.stop
        except Crash:
            pass
        # The position in the store of states says how far the partition is; it is written after.
        metrics = Metrics()
        await add_all(state(store, metrics), source, others, since=written)
        assert await rings_of(store) == await once(source)
        assert not list(metrics.lost_additions.collect()[0].samples)
        if isinstance(source, Columns):
            hashes = source.values["event_id"].tolist()
            assert None not in await store.entries(hashes)

    run(opened, check)


@MANY
@given(TERMINALS, CUTS, CUTS, st.lists(st.booleans(), max_size=16), st.booleans())
def test_two_owners_add_once(
    opened: Opened,
    terminals: list[int],
    cuts: list[int],
    others: list[int],
    turns: list[bool],
    is_label: bool,
) -> None:
    source: Added = labels_of(events_of(terminals)) if is_label else events_of(terminals)

    async def check(store: SharedStore) -> None:
        owners = [(state(store), pieces(len(source), each)) for each in (cuts, others)]
        for mine, _ in owners:
            await mine.own(TOPIC, [PARTITION])
        for turn in [*turns, *[False] * 8, *[True] * 8]:
            mine, left = owners[turn]
            if left:
                piece = left.pop(0)
                if piece.start < piece.stop:
                    await mine.add(TOPIC, {PARTITION: part(mine, source, piece)}, no)
        assert await rings_of(store) == await once(source)

    run(opened, check)


def test_a_store_that_lost_everything_is_given_nothing_from_the_middle(opened: Opened) -> None:
    source = events_of([0, 1, 2] * 4)

    async def check(store: SharedStore) -> None:
        mine = state(store)
        await mine.own(TOPIC, [PARTITION])
        await mine.add(TOPIC, {PARTITION: part(mine, source, slice(0, 6))}, no)
        emptied = opened()
        try:
            mine.store = emptied
            with pytest.raises(StoreBehind):
                await mine.add(TOPIC, {PARTITION: part(mine, source, slice(6, 12))}, yes)
            assert await rings_of(emptied) == await once(source.take(np.arange(0)))
            # Read again from the beginning, nothing is missing.
            await mine.own(TOPIC, [PARTITION])
            await mine.add(TOPIC, {PARTITION: part(mine, source, slice(0, 12))}, yes)
            assert await rings_of(emptied) == await once(source)
        finally:
            await emptied.close()

    run(opened, check)


@pytest.mark.parametrize("lost", ["some", "all"])
def test_a_shard_that_lost_additions_is_told_once_and_things_go_on(
    opened: Opened, lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = events_of([0] * 12)
    sources = [(shard, TOPIC, PARTITION) for shard in range(SHARDS)]

    async def check(store: SharedStore, earlier: SharedStore) -> None:
        metrics = Metrics()
        mine = state(store, metrics)
        await mine.own(TOPIC, [PARTITION])
        for each in (slice(0, 3), slice(3, 6)):
            await mine.add(TOPIC, {PARTITION: part(mine, source, each)}, no)
        if lost == "some":
            await add_all(state(earlier), source.take(np.arange(3)), [])
        before, after = await store.positions(sources), await earlier.positions(sources)
        last = np.concatenate([source.values[name][6:] for name in ("terminal", "event_id")])
        told = {
            shard
            for shard, *rest in sources
            if before[shard, *rest] != after[shard, *rest] and shard in last % SHARDS
        }
        assert told
        mine.store = earlier
        for _ in range(2):
            await mine.add(TOPIC, {PARTITION: part(mine, source, slice(6, 12))}, no)
            lines = [each.message for each in caplog.records if "has lost what" in each.message]
            assert sorted(int(line.split()[1]) for line in lines) == sorted(told)
            samples = metrics.lost_additions.collect()[0].samples
            totals = {each.labels["shard"]: each.value for each in samples if "total" in each.name}
            assert totals == {str(shard): 1.0 for shard in told}
        kept = (await earlier.rings({"terminal": source.values["terminal"][:1]}))["terminal"][0]
        rows = np.frombuffer(kept or b"", ring.record(TERMINAL))["rows"]
        assert rows[0, :, 0].sum() == (6 if lost == "all" else 9)

    async def check_with_both(store: SharedStore) -> None:
        # A store that holds what the other held before it lost its last additions.
        earlier = opened()
        try:
            await check(store, earlier)
        finally:
            await earlier.close()

    run(opened, check_with_both)


def test_what_is_repeated_or_failed_is_not_counted_and_not_kept(opened: Opened) -> None:
    source = events_of([0, 0, 0, 1])
    counted = np.array([True, False, True, False])

    async def check(store: SharedStore) -> None:
        mine = state(store)
        await mine.own(TOPIC, [PARTITION])
        await mine.add(TOPIC, {PARTITION: part(mine, source, slice(0, 4), counted)}, no)
        inputs, _ = await mine.read(shifted(source, 2 * DAY_MS))
        assert inputs[TERMINAL.input][:, :, :2].sum(axis=1).tolist() == [
            *[[2.0, 4.0]] * 3,
            [0.0, 0.0],
        ]
        kept = await store.entries(source.values["event_id"].tolist())
        assert [each is not None for each in kept] == counted.tolist()

    run(opened, check)


def shifted(columns: Columns, by_ms: int) -> Columns:
    return Columns(
        columns.rows,
        columns.event_ids,
        columns.accounts,
        columns.event_time_ms + by_ms,
        columns.values,
    )


def test_an_event_without_its_entity_neither_adds_nor_reads(opened: Opened) -> None:
    optional = Schema(
        tuple(
            Field("terminal", "terminal_id", FieldType.IDENTIFIER, Role.ENTITY, False, "none")
            if each.name == "terminal"
            else each
            for each in SCHEMA.fields
        )
    )
    values = [
        orjson.dumps(payment(transaction_id=f"t{at}", terminal_id=terminal))
        for at, terminal in enumerate([..., "p", None, "none"])
    ]
    columns = Decoder(optional).decode(values, NOW_MS).columns
    labels = Labels.of(optional, columns, np.ones(4, np.float32), columns.event_time_ms)

    async def check(store: SharedStore) -> None:
        mine = state(store, schema=optional)
        for topic, source in (("events", columns), ("labels", labels)):
            await mine.own(topic, [0])
            await mine.add(topic, {0: part(mine, source, slice(0, 4))}, no)
        found = {key async for key, _ in store.every_ring("terminal")}
        assert found == {int(columns.values["terminal"][1])}
        inputs, _ = await mine.read(shifted(columns, 2 * DAY_MS))
        assert inputs[TERMINAL.input].sum(axis=(1, 2)).tolist() == [0.0, 28.0, 0.0, 0.0]
        # The account is there all the same, with four frauds.
        assert inputs[ACCOUNT.input].sum(axis=(1, 2)).tolist() == [4.0] * 4

    run(opened, check)


def test_huge_amounts_leave_finite_sums(opened: Opened) -> None:
    values = [
        orjson.dumps(payment(transaction_id=f"t{at}", amount=amount))
        for at, amount in enumerate([3e38, 3e38, 3e38, 1.0])
    ]
    columns = Decoder(SCHEMA).decode(values, NOW_MS).columns
    money = replace(TERMINAL, quantities=(Quantity("money", Source.EVENT, Measure.AMOUNT),))
    assert np.isfinite(of_events(SCHEMA, money, columns, np.ones(4, np.bool_)).amounts).all()

    async def check(store: SharedStore) -> None:
        mine = state(store)
        await mine.own(TOPIC, [PARTITION])
        await mine.add(TOPIC, {PARTITION: part(mine, columns, slice(0, 4))}, no)
        found = (await mine.read(shifted(columns, 2 * DAY_MS)))[0][TERMINAL.input]
        assert found[0].sum(axis=0).tolist() == [4.0, 1.0, 0.0, 0.0]

    run(opened, check)


def test_nothing_is_read_of_no_events(opened: Opened) -> None:
    async def check(store: SharedStore) -> None:
        inputs, _ = await state(store).read(events_of([]))
        assert {name: each.shape for name, each in inputs.items()} == {
            each.input: (0, each.buckets, len(each.quantities)) for each in SHARED
        }

    run(opened, check)


def test_a_worker_that_lost_its_partition_notes_nothing_older(opened: Opened) -> None:
    async def check(store: SharedStore) -> None:
        columns = events_of([0, 1])
        event = int(columns.values["event_id"][0])
        zombie, owner = state(store), state(store)
        for mine in (zombie, owner):
            await mine.own("labels", [PARTITION])
        await add_all(owner, columns, [])
        await owner.note("labels", {PARTITION: 9}, {PARTITION: {event: b"new"}}, no)
        await zombie.note("labels", {PARTITION: 5}, {PARTITION: {event: b"old"}}, no)
        assert await store.entries([event]) == [b"new"]

    run(opened, check)
