"""What every state store promises, on each backend, and what is Redis's own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError, StoreUnavailable, StreamError
from streams.embedded.processes import choose_port
from streams.embedded.valkey import EmbeddedValkey
from streams.store.base import PartitionWrite, Store, WriteKind, WriteOutcome
from streams.store.factory import open_store
from streams.store.memory.store import MemoryStore
from streams.store.redis.address import redact
from streams.store.redis.keys import Keys
from streams.store.redis.store import RedisStore
from tests.waiting import wait_for

OpenStore = Callable[[], Store]
SLOTS = 16_384
APPLIED, REPEATED, FENCED, BEHIND = (
    WriteKind.APPLIED,
    WriteKind.REPEATED,
    WriteKind.FENCED,
    WriteKind.BEHIND,
)
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


def put(partition: int, expected: int | None, position: int, **states: bytes) -> PartitionWrite:
    return PartitionWrite(partition, expected, position, states)


async def contents(store: Store, partition: int) -> dict[str, bytes]:
    return {account: state async for account, state in store.states(partition)}


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of two nodes, each with half of the slots."""
    nodes = [_cluster_node(tmp_path_factory.mktemp("node")) for _ in range(2)]
    with nodes[0], nodes[1]:
        cli = [redis.Redis.from_url(node.url, decode_responses=True) for node in nodes]
        _say(cli[0], "CLUSTER ADDSLOTSRANGE", 0, SLOTS // 2 - 1)
        _say(cli[1], "CLUSTER ADDSLOTSRANGE", SLOTS // 2, SLOTS - 1)
        _say(cli[0], "CLUSTER MEET", "127.0.0.1", nodes[1].port, nodes[1].settings["cluster-port"])
        wait_for(lambda: all(map(_sees_whole_cluster, cli)), 20, "a whole cluster")
        for client in cli:
            client.close()
        yield f"redis+cluster://127.0.0.1:{nodes[0].port}"


def _cluster_node(directory: Path) -> EmbeddedValkey:
    bus = str(choose_port())
    return EmbeddedValkey(directory, settings={"cluster-enabled": "yes", "cluster-port": bus})


def _sees_whole_cluster(client: redis.Redis) -> bool:
    info: dict[str, str] = _say(client, "CLUSTER INFO")
    return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "2"


def _say(client: redis.Redis, *words: object) -> Any:
    return client.execute_command(*words)  # type: ignore[no-untyped-call]


@pytest.fixture(params=["memory", "redis", "cluster"])
async def open_one(request: pytest.FixtureRequest) -> AsyncIterator[OpenStore]:
    """Opens stores that hold the same data, as the workers of one application do."""
    opened: list[Store] = []
    namespace = uuid.uuid4().hex
    server = {"redis": "valkey_url", "cluster": "cluster_url"}.get(request.param)
    url = request.getfixturevalue(server) if server else "memory://"

    def open_another() -> Store:
        if request.param == "memory" and opened:
            return opened[0]
        opened.append(open_store(url, namespace=namespace))
        return opened[-1]

    yield open_another
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_one: OpenStore) -> Store:
    return open_one()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A Valkey of the test's own, on a port that it keeps when started again."""
    with EmbeddedValkey(tmp_path, port=choose_port()) as valkey:
        yield valkey


@pytest.fixture
async def redis_store(valkey_url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(valkey_url, namespace=uuid.uuid4().hex)
    yield store
    await store.close()


async def test_an_empty_store_knows_nothing(store: Store) -> None:
    assert await store.positions([3, 1]) == {3: None, 1: None}
    assert await store.read({3: ["a"], 1: []}) == {3: [None], 1: []}
    assert await store.read({}) == {}
    assert await store.write([]) == []
    assert await contents(store, 3) == {}
    await store.ping()


async def test_states_come_back_in_the_order_asked(store: Store) -> None:
    states = {f"a{n}": bytes([n]) for n in range(50)}
    await store.write([PartitionWrite(0, None, 50, states), put(1, None, 7, a1=b"other")])
    asked = ["a9", "nobody", "a1", "a9"]
    read = await store.read({1: ["a1"], 0: asked})
    assert read == {1: [b"other"], 0: [b"\x09", None, b"\x01", b"\x09"]}
    assert list(read) == [1, 0]
    assert await store.positions([0, 1, 2]) == {0: 50, 1: 7, 2: None}


async def test_odd_accounts_and_any_bytes(store: Store) -> None:
    values = [b"", b"\x00", b"\x00\xff\r\n\x00", bytes(range(256)) * 4]
    states = {name: values[n % len(values)] for n, name in enumerate(ODD_ACCOUNTS)}
    assert (await store.write([PartitionWrite(0, None, 1, states)]))[0].done
    assert await store.read({0: ODD_ACCOUNTS}) == {0: list(states.values())}
    assert await contents(store, 0) == states
    assert await contents(store, 1) == {}


async def test_many_accounts_in_one_write(store: Store) -> None:
    states = {f"account-{n}": b"x" * 20 for n in range(20_000)}
    assert (await store.write([PartitionWrite(0, None, 1, states)]))[0].done
    assert await store.read({0: list(states)}) == {0: list(states.values())}
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
    read = await second.read({partition: ["a"] for partition in range(4)})
    assert read == {0: [b"3"], 1: [b"2"], 2: [b"1"], 3: [b"1"]}


async def test_writes_of_one_worker_follow_each_other(store: Store) -> None:
    position = None
    for step in range(1, 30):
        (outcome,) = await store.write([put(0, position, step * 3, a=bytes([step]))])
        assert outcome == WriteOutcome(0, APPLIED, step * 3)
        position = outcome.stored
    assert await store.read({0: ["a"]}) == {0: [bytes([29])]}


@pytest.mark.parametrize(("expected", "position"), [(5, 5), (5, 4), (None, -1)])
def test_a_write_must_move_forward(expected: int | None, position: int) -> None:
    with pytest.raises(ValueError, match="forward"):
        put(0, expected, position)


# A random walk: the dictionary is the reference for the script.

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
@given(calls=st.lists(st.lists(WRITE, max_size=3), max_size=12))
def test_redis_does_what_memory_does(
    valkey_url: str, calls: Sequence[Sequence[PartitionWrite]]
) -> None:
    async def compare() -> None:
        model = MemoryStore()
        real = RedisStore(valkey_url, namespace=uuid.uuid4().hex)
        for writes in calls:
            assert await real.write(writes) == await model.write(writes)
        assert await real.positions([0, 1]) == await model.positions([0, 1])
        wanted = {0: ["a", "b", "c"], 1: ["c", "a", "b"]}
        assert await real.read(wanted) == await model.read(wanted)
        await real.close()

    asyncio.run(compare())


# Redis's own


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
        _say(client, "ACL", "SETUSER", "risk", "on", ">pw", "~*", "+@all", f"-{command}")
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
    assert await store.read({0: ["a"]}) == {0: [b"old"]}
    assert (await store.write([put(0, 1, 2, a=b"new")]))[0].kind is APPLIED
    await store.close()


async def test_a_read_only_replica_refuses(server: EmbeddedValkey) -> None:
    store = RedisStore(server.url, namespace="app")
    with redis.Redis.from_url(server.url) as client:
        client.replicaof("127.0.0.1", str(choose_port()))
    with pytest.raises(StoreUnavailable, match=r"(?i)replica"):
        await store.write([put(0, None, 1, a=b"a")])
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


@pytest.mark.parametrize(
    "url",
    ["", "redis", "http://host", "unix+cluster:///a", "redis://host:port", "redis://u:pw@h:x"],
)
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"state\.url") as caught:
        open_store(url, namespace="app")
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("namespace", ["", "a}b", "{a"])
def test_a_wrong_namespace_is_refused(namespace: str) -> None:
    with pytest.raises(ConfigError, match="namespace"):
        open_store("redis://host", namespace=namespace)


def test_an_expiry_is_at_least_a_second() -> None:
    with pytest.raises(ConfigError, match="expire_s"):
        open_store("redis://host", namespace="app", expire_s=0)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:p@ss/w?rd#@host:6379/0", "redis://***@host:6379/0"),
        ("unix:///a.sock?PASSWORD=x&db=1", "unix:///a.sock?PASSWORD=***&db=1"),
    ],
)
def test_redact(url: str, shown: str) -> None:
    assert redact(url) == shown
