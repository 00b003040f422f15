"""Servers that are away, that refuse for now, and that refuse for good."""

from __future__ import annotations

import pytest
import redis

from engine.errors import StoreUnavailable, StreamError
from streams.embedded.processes import choose_port
from streams.embedded.valkey import EmbeddedValkey
from streams.store.redis.store import RedisStore
from tests.streams.store.tools import APPLIED, contents, put, say


async def test_a_server_that_is_away(server: EmbeddedValkey) -> None:
    secret = "s3cret"
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", secret)
    address = f"127.0.0.1:{server.port}"
    store = RedisStore(f"redis://:{secret}@{address}/0", namespace="app")
    await store.write([put(0, None, 1, a=b"a")])
    server.stop()
    for call in (
        store.ping(),
        store.positions([0]),
        store.read({0: ["a"]}),
        store.write([put(0, 1, 2, a=b"b")]),
        contents(store, 0),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            await call
        message = str(caught.value)
        assert address in message
        assert "state.url" in message
        assert secret not in message
    await store.close()


async def test_a_wrong_password_is_not_shown(server: EmbeddedValkey) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", "right")
    store = RedisStore(f"redis://:wr0ng@127.0.0.1:{server.port}/0", namespace="app")
    with pytest.raises(StreamError, match=r"state\.url") as caught:
        await store.ping()
    assert "wr0ng" not in str(caught.value)
    await store.close()


async def test_a_missing_password_is_for_good(server: EmbeddedValkey) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", "right")
    store = RedisStore(server.url, namespace="app")
    with pytest.raises(StreamError, match="password"):
        await store.ping()
    await store.close()


@pytest.mark.parametrize("command", ["get", "evalsha", "set"])
async def test_a_missing_right_is_for_good(server: EmbeddedValkey, command: str) -> None:
    with redis.Redis.from_url(server.url) as client:
        say(client, "ACL", "SETUSER", "risk", "on", ">pw", "~*", "+@all", f"-{command}")
    store = RedisStore(f"redis://risk:pw@127.0.0.1:{server.port}/0", namespace="app")
    call = store.positions([0]) if command == "get" else store.write([put(0, None, 1, a=b"a")])
    with pytest.raises(StreamError, match="rights"):
        await call
    await store.close()


async def test_a_key_of_another_type_is_for_good(valkey_url: str, redis_store: RedisStore) -> None:
    with redis.Redis.from_url(valkey_url) as server:
        server.rpush(redis_store._keys.position(0), "a")
        with pytest.raises(StreamError, match="WRONGTYPE"):
            await redis_store.positions([0])
        with pytest.raises(StreamError, match="WRONGTYPE"):
            await redis_store.write([put(0, None, 1, a=b"a")])


async def test_a_full_server_writes_nothing_and_says_so(server: EmbeddedValkey) -> None:
    store = RedisStore(server.url, namespace="app")
    await store.write([put(0, None, 1, a=b"old")])
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(StoreUnavailable, match="maxmemory"):
            await store.write([put(0, 1, 2, a=b"new")])
        client.config_set("maxmemory", 0)
    assert (await store.read({0: ["a"]})).states == {0: [b"old"]}
    assert (await store.write([put(0, 1, 2, a=b"new")]))[0].kind is APPLIED
    await store.close()


async def test_a_read_only_replica_refuses(server: EmbeddedValkey) -> None:
    store = RedisStore(server.url, namespace="app")
    with redis.Redis.from_url(server.url) as client:
        client.replicaof("127.0.0.1", str(choose_port()))
    with pytest.raises(StoreUnavailable, match=r"(?i)replica"):
        await store.write([put(0, None, 1, a=b"a")])
    await store.close()
