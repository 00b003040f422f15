"""Stores for tests, on each backend."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from streams.embedded.processes import choose_port
from streams.embedded.valkey import EmbeddedValkey
from streams.store.base import Store
from streams.store.factory import open_store
from streams.store.hot import HotStates, HotStore
from streams.store.redis.store import RedisStore
from tests.streams.store.tools import OpenStore, say
from tests.waiting import wait_for

SLOTS = 16_384


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of two nodes, each with half of the slots."""
    nodes = [_cluster_node(tmp_path_factory.mktemp("node")) for _ in range(2)]
    with nodes[0], nodes[1]:
        cli = [redis.Redis.from_url(node.url, decode_responses=True) for node in nodes]
        say(cli[0], "CLUSTER ADDSLOTSRANGE", 0, SLOTS // 2 - 1)
        say(cli[1], "CLUSTER ADDSLOTSRANGE", SLOTS // 2, SLOTS - 1)
        say(cli[0], "CLUSTER MEET", "127.0.0.1", nodes[1].port, nodes[1].settings["cluster-port"])
        wait_for(lambda: all(map(_sees_whole_cluster, cli)), 60, "a whole cluster")
        for client in cli:
            client.close()
        yield f"redis+cluster://127.0.0.1:{nodes[0].port}"


def _cluster_node(directory: Path) -> EmbeddedValkey:
    bus = str(choose_port())
    return EmbeddedValkey(directory, settings={"cluster-enabled": "yes", "cluster-port": bus})


def _sees_whole_cluster(client: redis.Redis) -> bool:
    info: dict[str, str] = say(client, "CLUSTER INFO")
    return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "2"


@pytest.fixture(params=["memory", "redis", "hot", "cluster"])
async def open_one(request: pytest.FixtureRequest) -> AsyncIterator[OpenStore]:
    """Opens stores that hold the same data, as the workers of one application do."""
    opened: list[Store] = []
    namespace = uuid.uuid4().hex
    servers = {"redis": "valkey_url", "hot": "valkey_url", "cluster": "cluster_url"}
    server = servers.get(request.param)
    url = request.getfixturevalue(server) if server else "memory://"

    def open_another() -> Store:
        if request.param == "memory" and opened:
            return opened[0]
        store = open_store(url, namespace=namespace)
        opened.append(HotStore(store, HotStates(40)) if request.param == "hot" else store)
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
