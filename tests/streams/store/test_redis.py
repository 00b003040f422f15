"""What is Redis's own: expiry, scripts, restarts, sockets, namespaces."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
import redis

from engine.errors import StoreUnavailable
from streams.embedded.valkey import EmbeddedValkey
from streams.store.base import WriteOutcome
from streams.store.factory import open_store
from streams.store.redis.keys import Keys
from streams.store.redis.store import RedisStore
from tests.streams.store.tools import APPLIED, BEHIND, FENCED, REPEATED, contents, put


async def test_idle_accounts_expire_and_positions_do_not(valkey_url: str) -> None:
    namespace = uuid.uuid4().hex
    store = RedisStore(valkey_url, namespace=namespace, expire_s=100)
    keys = Keys(namespace)
    with redis.Redis.from_url(valkey_url) as server:
        await store.write([put(0, None, 1, a=b"a", b=b"b")])
        a, b = keys.states(0, ["a", "b"])
        server.expire(a, 10)
        await store.write([put(0, 1, 2, a=b"a")])
        assert server.ttl(a) > 90
        assert server.ttl(b) > 90
        assert server.ttl(keys.position(0)) == -1
    await store.close()


async def test_accounts_stay_without_an_expiry(valkey_url: str, redis_store: RedisStore) -> None:
    await redis_store.write([put(0, None, 1, a=b"a")])
    with redis.Redis.from_url(valkey_url) as server:
        (key,) = redis_store._keys.states(0, ["a"])
        assert server.ttl(key) == -1


async def test_a_flushed_script_is_sent_again(valkey_url: str, redis_store: RedisStore) -> None:
    with redis.Redis.from_url(valkey_url) as server:
        server.script_flush()
        writes = [put(partition, None, 1, a=b"1") for partition in range(3)]
        assert [each.kind for each in await redis_store.write(writes)] == [APPLIED] * 3
        server.script_flush()
        mixed = [put(0, 1, 2, a=b"2"), put(1, 0, 2, a=b"2"), put(2, None, 1)]
        kinds = [each.kind for each in await redis_store.write(mixed)]
    assert kinds == [APPLIED, FENCED, REPEATED]


async def test_a_restarted_server_is_used_again_and_is_behind(server: EmbeddedValkey) -> None:
    store = RedisStore(server.url, namespace="app")
    await store.write([put(0, None, 10, a=b"a")])
    server.kill()
    server.start()
    assert await store.write([put(0, 10, 20, a=b"b")]) == [WriteOutcome(0, BEHIND, None)]
    await store.close()


async def test_a_unix_socket(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path, unix_socket=True) as valkey:
        store = open_store(valkey.url, namespace="app")
        await store.write([put(0, None, 1, a=b"a")])
        assert await contents(store, 0) == {"a": b"a"}
        await store.close()
        away = open_store(f"unix://{tmp_path}/none.sock", namespace="app")
        with pytest.raises(StoreUnavailable, match=r"none\.sock"):
            await away.ping()


async def test_namespaces_do_not_meet(valkey_url: str) -> None:
    first = RedisStore(valkey_url, namespace=f"*{uuid.uuid4().hex}")
    second = RedisStore(valkey_url, namespace=f"x{first._keys._namespace}")
    await second.write([put(0, None, 1, a=b"a")])
    assert await contents(first, 0) == {}
    assert await first.positions([0]) == {0: None}
    await first.close()
    await second.close()
