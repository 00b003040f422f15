"""A state store in Redis or Valkey: one MGET a partition to read, one round trip to write."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import cast

from engine.errors import ConfigError
from streams.store.base import PartitionWrite, Snapshot, WriteKind, WriteOutcome
from streams.store.redis.keys import Keys
from streams.store.redis.server import Script, Server
from streams.store.redis.watched import Watched
from streams.store.redis.wire import Command

SCRIPT = Script.read("write.lua")
PAGE = 1_000


class RedisStore:
    """A `Store` in Redis 7, Valkey 8, or later; in Redis Cluster where `cluster` is set.

    A store belongs to the event loop of its first call.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str,
        expire_s: int | None = None,
        cluster: bool = False,
        timeout_s: float = 5.0,
    ) -> None:
        """Take the address; nothing connects before the first call.

        Args:
            url: `redis://`, `rediss://` or `unix://`; for a cluster, any one of its nodes.
            namespace: separates applications, layouts and topics that share a server; no braces.
            expire_s: seconds after its last write that an account is forgotten; None keeps it.
            cluster: whether the server is a Redis Cluster. Each partition then lies on one node,
                and a call sends one command for each partition, side by side.
            timeout_s: how long to wait for a connection, and for an answer.

        Raises:
            ConfigError: the URL, the namespace or the expiry is not valid.
        """
        if expire_s is not None and expire_s < 1:
            raise ConfigError(f"expire_s must be 1 or more, or None, however: expire_s={expire_s}")
        self._keys = Keys(namespace)
        self._expire_s = expire_s or 0
        self._client = Server(url, timeout_s=timeout_s, cluster=cluster)
        self._watched = Watched(self._client, self._keys, self._expire_s)

    async def positions(self, partitions: Iterable[int]) -> dict[int, int | None]:
        """See `Store.positions`."""
        asked = list(partitions)
        answers = await self._client.ask([("GET", self._keys.position(each)) for each in asked])
        return {each: _position(answer) for each, answer in zip(asked, answers, strict=True)}

    def forget(self, partitions: Iterable[int]) -> None:
        """See `Store.forget`: no state is known."""

    async def read(self, wanted: Mapping[int, Sequence[str]], *, fresh: bool = False) -> Snapshot:
        """See `Store.read`."""
        # MGET, so that a partition's position is read with its states.
        answers = await self._client.ask(
            [
                ("MGET", self._keys.position(each), *self._keys.states(each, accounts))
                for each, accounts in wanted.items()
            ]
        )
        found = dict(zip(wanted, cast(list[list[bytes | None]], answers), strict=True))
        return Snapshot(
            {partition: _position(values[0]) for partition, values in found.items()},
            {partition: values[1:] for partition, values in found.items()},
        )

    async def write(self, writes: Sequence[PartitionWrite]) -> list[WriteOutcome]:
        """See `Store.write`."""
        if await self._watched.write(writes):
            return [
                WriteOutcome(each.partition, WriteKind.APPLIED, each.position) for each in writes
            ]
        outcomes = await self.write_by_script(writes)
        await self._watched.begin(each.partition for each in outcomes if each.done)
        return outcomes

    async def write_by_script(self, writes: Sequence[PartitionWrite]) -> list[WriteOutcome]:
        """As :meth:`write`, each partition by itself: what any server can do."""
        tails = [self._script_arguments(write) for write in writes]
        answers = await self._client.run(SCRIPT, tails)
        return [_outcome(write, answer) for write, answer in zip(writes, answers, strict=True)]

    async def load(self, partition: int, states: Mapping[str, bytes]) -> None:
        """See `Store.load`."""
        keys = self._keys.states(partition, list(states))
        expiry: Command = ("EX", self._expire_s) if self._expire_s else ()
        await self._client.ask(
            [("SET", key, state, *expiry) for key, state in zip(keys, states.values(), strict=True)]
        )

    async def states(self, partition: int) -> AsyncIterator[tuple[str, bytes]]:
        """See `Store.states`."""
        # SCAN may name a key twice.
        keys = list({key async for key in self._client.scan(self._keys.pattern(partition))})
        for start in range(0, len(keys), PAGE):
            for found in await self._values(partition, keys[start : start + PAGE]):
                yield found

    async def ping(self) -> None:
        """See `Store.ping`."""
        await self._client.ask([("PING",)])

    async def close(self) -> None:
        """See `Store.close`."""
        await self._client.close()

    def _script_arguments(self, write: PartitionWrite) -> Command:
        accounts = list(write.states)
        expected = "" if write.expected is None else write.expected
        return (
            1 + len(accounts),
            self._keys.position(write.partition),
            *self._keys.states(write.partition, accounts),
            expected,
            write.position,
            self._expire_s,
            *write.states.values(),
        )

    async def _values(self, partition: int, keys: list[bytes]) -> list[tuple[str, bytes]]:
        """Read the states at keys; one that has expired since is left out."""
        if not keys:
            return []
        (answer,) = await self._client.ask([("MGET", *keys)])
        states = cast(list[bytes | None], answer)
        return [
            (self._keys.account(partition, key), state)
            for key, state in zip(keys, states, strict=True)
            if state is not None
        ]


def _position(answer: object) -> int | None:
    return None if answer is None else int(cast(bytes, answer))


def _outcome(write: PartitionWrite, answer: object) -> WriteOutcome:
    kind, stored = cast(tuple[bytes, bytes | None], answer)
    return WriteOutcome(write.partition, WriteKind(kind.decode()), _position(stored))
