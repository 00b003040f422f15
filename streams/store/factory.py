"""Open the state store that a URL names."""

from __future__ import annotations

from engine.errors import ConfigError
from streams.store.base import Store
from streams.store.memory.store import MemoryStore
from streams.store.redis.address import redact
from streams.store.redis.store import RedisStore

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
    scheme, found, rest = url.partition("://")
    if found and scheme == "memory":
        return MemoryStore()
    plain = scheme.removesuffix(CLUSTER)
    cluster = plain != scheme
    if not found or plain not in REDIS_SCHEMES or (cluster and plain == "unix"):
        raise ConfigError(
            "state.url must start with memory://, redis://, rediss://, unix://, redis+cluster:// "
            f"or rediss+cluster://, however: state.url={redact(url)!r}"
        )
    address = f"{plain}://{rest}"
    return RedisStore(
        address, namespace=namespace, expire_s=expire_s, cluster=cluster, timeout_s=timeout_s
    )
