"""Open the state store that a URL names."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import ConfigError
from engine.shared import SharedEntity
from streams.store.base import Store
from streams.store.generations import Generations
from streams.store.memory.generations import MemoryGenerations
from streams.store.memory.shared import MemorySharedStore
from streams.store.memory.store import MemoryStore
from streams.store.redis.address import redact
from streams.store.redis.generations import RedisGenerations
from streams.store.redis.shared import RedisSharedStore
from streams.store.redis.store import RedisStore
from streams.store.shared import SharedStore

CLUSTER = "+cluster"
REDIS_SCHEMES = ("redis", "rediss", "unix")


def open_store(
    url: str, *, namespace: str, expire_s: int | None = None, timeout_s: float = 5.0
) -> Store:
    """Return the store at `url`. Nothing connects before the first call.

    | URL                                     | store                                        |
    | --------------------------------------- | -------------------------------------------- |
    | `memory://`                             | this process; gone when it ends              |
    | `redis://host:6379/0`, `rediss://` (TLS) | Redis 7, Valkey 8 or later                   |
    | `unix:///run/redis.sock?db=0`           | the same, through a Unix socket              |
    | `redis+cluster://host:6379`, `rediss+…` | Redis Cluster, through any one of its nodes  |

    Args:
        namespace: separates applications, state layouts and topics that share a server.
        expire_s: seconds after its last write that an account is forgotten; None keeps it.
        timeout_s: how long to wait for a connection, and for an answer.

    Raises:
        ConfigError: the URL's scheme is none of these, or an argument is out of its range.
    """
    address, cluster = _address(url)
    if address is None:
        return MemoryStore()
    return RedisStore(
        address, namespace=namespace, expire_s=expire_s, cluster=cluster, timeout_s=timeout_s
    )


def open_shared_store(
    url: str,
    shared: Sequence[SharedEntity],
    *,
    namespace: str,
    shards: int,
    keep_s: int,
    timeout_s: float = 5.0,
) -> SharedStore:
    """Return the store of shared entities at a URL, as for :func:`open_store`.

    Args:
        url: the same as for :func:`open_store`.
        shared: the kinds of entity.
        namespace: separates applications and declarations of entities that share a server.
        shards: over how many shards entities are spread.
        keep_s: how long labels may come after their event, in seconds.
        timeout_s: how long to wait for a connection, and for an answer.

    Raises:
        ConfigError: the URL's scheme is not known.
    """
    address, cluster = _address(url)
    if address is None:
        return MemorySharedStore(shared, shards)
    return RedisSharedStore(
        address,
        shared,
        namespace=namespace,
        shards=shards,
        keep_s=keep_s,
        cluster=cluster,
        timeout_s=timeout_s,
    )


def open_generations(url: str, *, namespace: str, timeout_s: float = 5.0) -> Generations:
    """Return the generations of an application at a URL, as for :func:`open_store`."""
    address, cluster = _address(url)
    if address is None:
        return MemoryGenerations()
    return RedisGenerations(address, namespace=namespace, cluster=cluster, timeout_s=timeout_s)


def _address(url: str) -> tuple[str | None, bool]:
    """Return Redis's own address, None for this process's memory; and whether it is a cluster."""
    scheme, found, rest = url.partition("://")
    if found and scheme == "memory":
        return None, False
    plain = scheme.removesuffix(CLUSTER)
    cluster = plain != scheme
    if not found or plain not in REDIS_SCHEMES or (cluster and plain == "unix"):
        raise ConfigError(
            "state.url must start with memory://, redis://, rediss://, unix://, redis+cluster:// "
            f"or rediss+cluster://, however: state.url={redact(url)!r}"
        )
    return f"{plain}://{rest}", cluster
