"""Writes in one transaction: what it leaves, and what happens where it cannot be relied on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from engine.errors import StoreUnavailable
from streams.embedded.valkey import EmbeddedValkey
from streams.store.base import WriteOutcome
from streams.store.redis.keys import Keys
from streams.store.redis.store import RedisStore
from streams.store.redis.watched import MOST_PARTITIONS
from tests.streams.store.tools import APPLIED, BEHIND, FENCED, contents, put, say
from tests.waiting import wait_for_async

TIMEOUT_S = 2.0


@pytest.fixture
def client(server: EmbeddedValkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
async def store(server: EmbeddedValkey) -> AsyncIterator[RedisStore]:
    """A store that has written once: from then on it watches."""
    store = RedisStore(server.url, namespace="app", expire_s=100, timeout_s=TIMEOUT_S)
    await written(store, None, 1)
    yield store
    await store.close()


async def written(store: RedisStore, expected: int | None, position: int) -> None:
    write = put(0, expected, position, a=b"%d" % position)
    assert await store.write([write]) == [WriteOutcome(0, APPLIED, position)]


def calls(client: redis.Redis, command: str) -> int:
    """How often the server has run a command."""
    found = client.info("commandstats").get(f"cmdstat_{command}", {})
    return int(found.get("calls", 0))


@pytest.mark.parametrize("expire_s", [None, 100])
async def test_only_the_first_write_needs_the_script(
    server: EmbeddedValkey, client: redis.Redis, expire_s: int | None
) -> None:
    store, keys = RedisStore(server.url, namespace="app", expire_s=expire_s), Keys("app")
    await written(store, None, 1)
    first = calls(client, "eval") + calls(client, "evalsha")
    for position in range(2, 12):
        await store.write([put(0, position - 1, position, a=b"%d" % position, b=b"b")])
    assert calls(client, "eval") + calls(client, "evalsha") == first
    assert calls(client, "exec") == 10
    assert await contents(store, 0) == {"a": b"11", "b": b"b"}
    assert await store.positions([0]) == {0: 11}
    assert client.ttl(keys.position(0)) == -1
    lives_s = [client.ttl(key) for key in keys.states(0, ["a", "b"])]
    assert all(each == -1 if expire_s is None else 90 < each <= 100 for each in lives_s)
    await store.close()


async def test_another_partition_is_watched_from_its_first_write_on(
    store: RedisStore, client: redis.Redis
) -> None:
    await store.write([put(0, 1, 2), put(1, None, 5, b=b"1")])
    before = calls(client, "exec")
    assert [each.kind for each in await store.write([put(0, 2, 3), put(1, 5, 6)])] == [APPLIED] * 2
    assert [each.kind for each in await store.write([put(1, 6, 7)])] == [APPLIED]
    assert [each.kind for each in await store.write([put(0, 3, 4)])] == [APPLIED]
    assert calls(client, "exec") == before + 3


async def test_another_worker_that_wrote_meanwhile_fences(
    store: RedisStore, server: EmbeddedValkey, client: redis.Redis
) -> None:
    other = RedisStore(server.url, namespace="app")
    await written(store, 1, 2)
    await written(other, 2, 7)
    assert await store.write([put(0, 2, 3, a=b"mine")]) == [WriteOutcome(0, FENCED, 7)]
    assert calls(client, "exec") == 2
    assert await contents(store, 0) == {"a": b"7"}
    await other.close()
    # Where it is the owner again, it goes on as before.
    await written(store, 7, 8)
    await written(store, 8, 9)
    assert calls(client, "exec") == 3


async def test_one_fenced_partition_does_not_stop_the_others(
    store: RedisStore, server: EmbeddedValkey
) -> None:
    await store.write([put(1, None, 1, b=b"1")])
    other = RedisStore(server.url, namespace="app")
    await written(other, 1, 7)
    assert await store.write([put(0, 1, 2, a=b"mine"), put(1, 1, 2, b=b"2")]) == [
        WriteOutcome(0, FENCED, 7),
        WriteOutcome(1, APPLIED, 2),
    ]
    assert await contents(store, 1) == {"b": b"2"}
    await other.close()


async def test_writes_side_by_side_are_guarded_each_and_leave_no_connections(
    server: EmbeddedValkey, client: redis.Redis
) -> None:
    store, other = (RedisStore(server.url, namespace="app") for _ in range(2))
    for position in range(1, 30):
        before = position - 1 or None
        mine = [store.write([put(each, before, position, a=b"mine")]) for each in range(3)]
        theirs = other.write([put(0, before, position + 50, a=b"theirs")])
        outcomes = await asyncio.gather(*mine, theirs)
        kinds = [outcome.kind for (outcome,) in outcomes]
        assert kinds[1:3] == [APPLIED, APPLIED]
        assert {kinds[0], kinds[3]} in ({APPLIED, FENCED}, {APPLIED, BEHIND})
        stored = (await store.positions([0]))[0]
        assert stored == (position if kinds[0] is APPLIED else position + 50)
        client.set(Keys("app").position(0), position)
    assert client.info("clients")["connected_clients"] < 12
    for each in (store, other):
        await each.close()


async def test_partitions_that_moved_away_are_watched_no_more(
    store: RedisStore, client: redis.Redis
) -> None:
    for partition in range(1, MOST_PARTITIONS + 10):
        await store.write([put(partition, None, 1)])
    last = MOST_PARTITIONS + 9
    before = calls(client, "exec")
    for position in (2, 3):
        await store.write(
            [put(last, position - 1, position), put(last - 9, position - 1, position)]
        )
    assert calls(client, "exec") == before + 2


@pytest.mark.parametrize("lost", ["all", "position"])
async def test_a_server_that_lost_its_data_is_behind(
    store: RedisStore, client: redis.Redis, lost: str
) -> None:
    await written(store, 1, 2)
    if lost == "all":
        client.flushall()
    else:
        client.delete(Keys("app").position(0))
    assert await store.write([put(0, 2, 3, a=b"3")]) == [WriteOutcome(0, BEHIND, None)]
    assert await store.positions([0]) == {0: None}
    await written(store, None, 1)
    before = calls(client, "exec")
    await written(store, 1, 2)
    assert calls(client, "exec") == before + 1


async def test_a_write_of_nothing_asks_nothing(server: EmbeddedValkey, client: redis.Redis) -> None:
    store = RedisStore(server.url, namespace="app")
    before = client.info("stats")["total_connections_received"]
    assert await store.write([]) == []
    assert client.info("stats")["total_connections_received"] == before


async def test_a_connection_that_died_is_made_again(store: RedisStore, client: redis.Redis) -> None:
    for position in range(2, 6):
        say(client, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await written(store, position - 1, position)
    before = calls(client, "exec")
    await written(store, 5, 6)
    assert calls(client, "exec") == before + 1


async def test_a_write_without_an_answer_is_done_once_when_tried_again(
    store: RedisStore, server: EmbeddedValkey
) -> None:
    write = put(0, 1, 2, a=b"2")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            await store.write([write])
    finally:
        os.kill(server.pid, signal.SIGCONT)

    async def is_written() -> bool:
        return (await store.positions([0]))[0] == 2

    # The server reads what was sent to it, though nobody waits for its answer.
    await wait_for_async(is_written, 60, "the write to be done")
    (outcome,) = await store.write([write])
    assert outcome.done
    assert await contents(store, 0) == {"a": b"2"}


async def test_a_full_server_writes_neither_states_nor_position(
    store: RedisStore, client: redis.Redis
) -> None:
    await written(store, 1, 2)
    client.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailable, match="maxmemory"):
        await store.write([put(0, 2, 3, a=b"3")])
    client.config_set("maxmemory", 0)
    assert await store.positions([0]) == {0: 2}
    await written(store, 2, 3)
    before = calls(client, "exec")
    await written(store, 3, 4)
    assert calls(client, "exec") == before + 1


@pytest.mark.parametrize("command", ["MSETEX", "WATCH", "MULTI", "EXEC", "DISCARD", "PERSIST"])
async def test_a_user_without_a_right_to_it_writes_by_the_script(
    server: EmbeddedValkey, client: redis.Redis, command: str
) -> None:
    say(client, "ACL", "SETUSER", "risk", "on", ">pw", "~*", "+@all", f"-{command}")
    store = RedisStore(f"redis://risk:pw@127.0.0.1:{server.port}/0", namespace="app", expire_s=100)
    for position in range(1, 6):
        await written(store, position - 1 or None, position)
        await store.write([put(position, None, 1)])
    before = calls(client, "multi")
    for position in range(6, 9):
        await written(store, position - 1, position)
    assert calls(client, "multi") == before
    assert await contents(store, 0) == {"a": b"8"}
    assert client.ttl(Keys("app").position(0)) == -1
    await store.close()


async def test_a_server_that_does_not_know_the_command_is_left_alone(
    tmp_path: Path,
) -> None:
    (tmp_path / "renamed").write_text('rename-command MSETEX ""\n')
    settings = {"include": str(tmp_path / "renamed")}
    with (
        EmbeddedValkey(tmp_path, settings=settings) as old,
        redis.Redis.from_url(old.url) as client,
    ):
        store = RedisStore(old.url, namespace="app", expire_s=100)
        for position in range(1, 6):
            await written(store, position - 1 or None, position)
        before = calls(client, "multi")
        for position in range(6, 9):
            await written(store, position - 1, position)
        assert calls(client, "multi") == before
        assert await contents(store, 0) == {"a": b"8"}
        await store.close()


async def test_so_many_partitions_are_not_watched(
    server: EmbeddedValkey, client: redis.Redis
) -> None:
    store = RedisStore(server.url, namespace="app")
    every = range(MOST_PARTITIONS + 1)
    for position in (1, 2, 3):
        outcomes = await store.write([put(each, position - 1 or None, position) for each in every])
        assert [each.kind for each in outcomes] == [APPLIED] * len(every)
    assert calls(client, "watch") == 0
    await store.close()
