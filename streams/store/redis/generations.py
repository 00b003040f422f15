"""Generations in Redis or Valkey: a hash, ``rs:{<namespace>}:generations``."""

from __future__ import annotations

from typing import cast

from streams.store.generations import Loading, named
from streams.store.redis.keys import PREFIX, beginning
from streams.store.redis.server import Server
from streams.store.redis.wire import Command

_PAGE = 1_000


class RedisGenerations:
    """See `Generations`."""

    def __init__(
        self, url: str, *, namespace: str, cluster: bool = False, timeout_s: float = 5.0
    ) -> None:
        """Take the address; nothing connects before the first call.

        Args:
            url: `redis://`, `rediss://` or `unix://`; for a cluster, any one of its nodes.
            namespace: of the application and the model.
            cluster: whether the server is a Redis Cluster.
            timeout_s: how long to wait for a connection, and for an answer.
        """
        self._namespace = namespace
        self._key = f"{PREFIX}{{{namespace}}}:generations".encode()
        self._client = Server(url, timeout_s=timeout_s, cluster=cluster)

    async def current(self) -> int:
        """See `Generations.current`."""
        return int((await self._hash()).get(b"current", b"0"))

    async def begin(self, digest: str) -> Loading:
        """See `Generations.begin`."""
        found = await self._hash()
        current, loading = int(found.get(b"current", b"0")), int(found.get(b"loading", b"0"))
        if loading > current and found.get(b"digest") == digest.encode():
            return Loading(loading, int(found.get(b"done", b"0")))
        # What an earlier, other backfill left unfinished goes.
        new = max(current, loading) + 1
        if loading > current:
            await self.drop(loading)
        await self._ask(("HSET", self._key, "loading", new, "digest", digest, "done", 0))
        return Loading(new, 0)

    async def note(self, done: int) -> None:
        """See `Generations.note`."""
        await self._ask(("HSET", self._key, "done", done))

    async def switch(self, generation: int) -> None:
        """See `Generations.switch`."""
        await self._ask(("HSET", self._key, "current", generation))

    async def drop(self, generation: int) -> int:
        """See `Generations.drop`."""
        start = f"{PREFIX}{{{named(self._namespace, generation)}".encode()
        dropped = 0
        # The namespace ends with the topic's or the shards' mark: another generation's does not.
        for mark in (b":", b"."):
            keys = [key async for key in self._client.scan(beginning(start + mark))]
            for at in range(0, len(keys), _PAGE):
                await self._client.send([("UNLINK", key) for key in keys[at : at + _PAGE]])
            dropped += len(set(keys))
        return dropped

    async def close(self) -> None:
        """See `Generations.close`."""
        await self._client.close()

    async def _hash(self) -> dict[bytes, bytes]:
        return cast(dict[bytes, bytes], await self._ask(("HGETALL", self._key)))

    async def _ask(self, command: Command) -> object:
        (answer,) = await self._client.ask([command])
        return answer
