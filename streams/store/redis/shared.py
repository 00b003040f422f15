"""Shared entities in Redis or Valkey: one MGET a shard to read, one script a shard to add.

::

    rs:{<namespace>:s<shard>}:at:<topic>      positions, a hash of the partitions
    rs:{<namespace>:s<shard>}:<kind>:<hash>   the ring of an entity
    rs:{<namespace>:s<shard>}:event:<hash>    what labels will need of an event
    rs:{<namespace>:clocks}                   how far each partition is, a hash

The braces are Redis Cluster's hash tag: all keys of a shard lie in one slot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from engine.buckets import Additions, length
from engine.shared import SharedEntity
from streams.store.redis.keys import PREFIX, beginning
from streams.store.redis.server import Script, Server
from streams.store.redis.wire import Command
from streams.store.shared import ShardAdd, Source, shard_of

SCRIPT = Script.read("add.lua")

_CLOCKS_S = 86_400
_MASK = (1 << 64) - 1
_SIGN = 1 << 63


class RedisSharedStore:
    """A `SharedStore` in Redis 7, Valkey 8, or later, or in Redis Cluster."""

    def __init__(
        self,
        url: str,
        shared: Sequence[SharedEntity],
        *,
        namespace: str,
        shards: int,
        keep_s: int,
        cluster: bool = False,
        timeout_s: float = 5.0,
    ) -> None:
        """Take the address; nothing connects before the first call.

        Args:
            url: `redis://`, `rediss://` or `unix://`; for a cluster, any one of its nodes.
            shared: the kinds of entity.
            namespace: separates applications that share a server; no braces.
            shards: over how many shards entities are spread.
            keep_s: how long labels may come after their event.
            cluster: whether the server is a Redis Cluster.
            timeout_s: how long to wait for a connection, and for an answer.
        """
        self.shards = shards
        self._namespace = f"{namespace}.{shards}"
        self._kinds = {each.name: each for each in shared}
        self._keep_s = keep_s
        self._client = Server(url, timeout_s=timeout_s, cluster=cluster)

    async def positions(self, sources: Sequence[Source]) -> dict[Source, int | None]:
        """See `SharedStore.positions`."""
        asked: dict[tuple[int, str], list[Source]] = defaultdict(list)
        for source in sources:
            asked[source[:2]].append(source)
        answers = await self._client.ask(
            [
                ("HMGET", self._positions_key(shard, topic), *(each[2] for each in wanted))
                for (shard, topic), wanted in asked.items()
            ]
        )
        found = {}
        for wanted, answer in zip(asked.values(), answers, strict=True):
            for source, value in zip(wanted, cast(list[bytes | None], answer), strict=True):
                found[source] = None if value is None else int(value)
        return found

    async def rings(self, wanted: Mapping[str, NDArray[np.int64]]) -> dict[str, list[bytes | None]]:
        """See `SharedStore.rings`."""
        asked = [
            (hashed, self._ring_key(kind, hashed))
            for kind, hashes in wanted.items()
            for hashed in hashes.tolist()
        ]
        values = iter(await self._values(asked))
        return {kind: [next(values) for _ in range(len(hashes))] for kind, hashes in wanted.items()}

    async def add(self, adds: Sequence[ShardAdd]) -> list[int | None]:
        """See `SharedStore.add`."""
        tails = [self._script_arguments(each) for each in adds]
        answers = await self._client.run(SCRIPT, tails)
        return [None if each is None else int(cast(bytes, each)) for each in answers]

    async def entries(self, events: Sequence[int]) -> list[bytes | None]:
        """See `SharedStore.entries`."""
        return await self._values([(each, self._event_key(each)) for each in events])

    async def load(
        self, rings: Mapping[str, Mapping[int, bytes]], entries: Mapping[int, bytes]
    ) -> None:
        """See `SharedStore.load`."""
        commands: list[Command] = [
            ("SET", self._ring_key(kind, hashed), ring, "EX", self._idle_s(kind))
            for kind, found in rings.items()
            for hashed, ring in found.items()
        ]
        commands += [
            ("SET", self._event_key(event), entry, "EX", self._keep_s)
            for event, entry in entries.items()
        ]
        await self._client.ask(commands)

    async def load_positions(self, positions: Mapping[Source, int]) -> None:
        """See `SharedStore.load_positions`."""
        await self._client.ask(
            [
                ("HSET", self._positions_key(shard, topic), partition, position)
                for (shard, topic, partition), position in positions.items()
            ]
        )

    async def clocks(self, mine: Mapping[str, bytes]) -> dict[str, bytes]:
        """See `SharedStore.clocks`."""
        key = f"{PREFIX}{{{self._namespace}:clocks}}".encode()
        commands: list[Command] = [("HGETALL", key)]
        if mine:
            pairs = [each for pair in mine.items() for each in pair]
            commands = [("HSET", key, *pairs), ("EXPIRE", key, _CLOCKS_S), *commands]
        found = cast(dict[bytes, bytes], (await self._client.ask(commands))[-1])
        return {name.decode(): clock for name, clock in found.items()}

    async def every_ring(self, kind: str) -> AsyncIterator[tuple[int, bytes]]:
        """See `SharedStore.every_ring`."""
        for shard in range(self.shards):
            start = self._shard(shard) + self._kind(kind)
            keys = sorted({key async for key in self._client.scan(beginning(start))})
            hashes = [_signed(int(key[len(start) :], 16)) for key in keys]
            values = await self._values(list(zip(hashes, keys, strict=True)))
            for hashed, value in zip(hashes, values, strict=True):
                if value is not None:
                    yield hashed, value

    async def close(self) -> None:
        """See `SharedStore.close`."""
        await self._client.close()

    async def _values(self, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        """Read keys, each beside the hash that places it: one MGET a shard, all at once."""
        places: dict[int, list[int]] = defaultdict(list)
        for at, (hashed, _) in enumerate(keys):
            places[shard_of(hashed, self.shards)].append(at)
        answers = await self._client.ask(
            [("MGET", *(keys[at][1] for at in some)) for some in places.values()]
        )
        values: list[bytes | None] = [None] * len(keys)
        for some, answer in zip(places.values(), answers, strict=True):
            for at, value in zip(some, cast(list[bytes | None], answer), strict=True):
                values[at] = value
        return values

    def _script_arguments(self, add: ShardAdd) -> Command:
        shard, topic, partition = add.source
        keys = [self._positions_key(shard, topic)]
        arguments: list[str | bytes | int] = []
        for name, additions in add.additions.items():
            kind = self._kinds[name]
            rows, idle_s = length(kind), self._idle_s(name)
            for hashed, packed in zip(additions.entities.tolist(), _packed(additions), strict=True):
                keys.append(self._ring_key(name, hashed))
                arguments += [rows, idle_s, packed]
        count = len(keys) - 1
        keys += [self._event_key(event) for event in add.entries]
        expected = "" if add.expected is None else add.expected
        keep_s = 0 if add.known_only else self._keep_s
        head = (partition, expected, add.position, count, keep_s)
        return (len(keys), *keys, *head, *arguments, *add.entries.values())

    def _idle_s(self, kind: str) -> int:
        """Return after how long without additions nothing of a ring can be read any more."""
        shared = self._kinds[kind]
        return (length(shared) + 1) * shared.bucket_s

    def _shard(self, shard: int) -> bytes:
        return f"{PREFIX}{{{self._namespace}:s{shard}}}:".encode()

    def _kind(self, kind: str) -> bytes:
        return f"{kind}:".encode()

    def _positions_key(self, shard: int, topic: str) -> bytes:
        return self._shard(shard) + f"at:{topic}".encode()

    def _ring_key(self, kind: str, hashed: int) -> bytes:
        shard = shard_of(hashed, self.shards)
        return self._shard(shard) + self._kind(kind) + b"%016x" % (hashed & _MASK)

    def _event_key(self, hashed: int) -> bytes:
        shard = shard_of(hashed, self.shards)
        return self._shard(shard) + b"event:%016x" % (hashed & _MASK)


def _packed(additions: Additions) -> list[bytes]:
    """Return each addition as the script reads it: its bucket, then what is added."""
    buckets = additions.buckets.astype("<i8")
    amounts = np.ascontiguousarray(additions.amounts, dtype="<f4")
    return [bucket.tobytes() + row.tobytes() for bucket, row in zip(buckets, amounts, strict=True)]


def _signed(hashed: int) -> int:
    return hashed - (1 << 64) if hashed & _SIGN else hashed
