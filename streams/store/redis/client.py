"""Send commands that touch one slot each, all at once, to one server or to a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)

from engine.errors import ConfigError, StoreUnavailable, StreamError
from streams.store.redis.address import redact
from streams.store.redis.wire import Command, Wire

FAILURES = (RedisError, RedisClusterException, OSError, asyncio.TimeoutError)
SCAN_COUNT = 1_000
_FOR_GOOD = ("WRONGTYPE", "ACL failure", "NOPERM", "The user executing the script")


class Client(Protocol):
    """Commands in, answers out. An answer that is an error is returned, not raised."""

    async def send(self, commands: Sequence[Command]) -> list[object]:
        """Send all commands in one round trip; raise only where there is no answer."""
        ...

    async def hold(self) -> Held | None:
        """Return a connection for one user alone; None where no one connection has all keys."""
        ...

    def scan(self, pattern: bytes) -> AsyncIterator[bytes]:
        """Yield the keys that match, some perhaps twice."""
        ...

    async def close(self) -> None:
        """Give back the connections."""
        ...


class Held:
    """A connection for one user alone: what the server keeps of it outlasts an exchange.

    Args:
        client: whose it is.
        wire: the connection.
    """

    def __init__(self, client: SingleClient, wire: Wire) -> None:
        self._client, self._wire = client, wire

    async def send(self, commands: Sequence[Command]) -> list[object]:
        """Send all commands in one round trip; where there is no answer, the connection is closed.

        Raises:
            ConnectionError, TimeoutError: as `Wire.exchange`.
        """
        return await self._client.exchange(self._wire, commands)

    async def close(self) -> None:
        """Close it: nobody else could use it as it is."""
        await self._client.drop(self._wire)


class SingleClient:
    """One server: the commands go out at once, on a connection that is kept.

    redis-py's pool opens connections, authenticates and encrypts. Its pipelines would do the rest
    too, and take several times as long for it.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._redis = Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=_one_more_try()
        )
        self._timeout_s = timeout_s
        self._idle: list[Wire] = []

    async def send(self, commands: Sequence[Command]) -> list[object]:
        """See `Client.send`."""
        if self._idle:
            # A connection that is kept may have died with the server's last restart.
            with suppress(RedisConnectionError):
                return await self._send_on(self._idle.pop(), commands)
        return await self._send_on(await self._opened(), commands)

    async def hold(self) -> Held:
        """See `Client.hold`."""
        return Held(self, self._idle.pop() if self._idle else await self._opened())

    async def scan(self, pattern: bytes) -> AsyncIterator[bytes]:
        """See `Client.scan`."""
        async for key in self._redis.scan_iter(match=pattern, count=SCAN_COUNT):
            yield key

    async def close(self) -> None:
        """See `Client.close`."""
        self._idle.clear()
        await self._redis.aclose()

    async def exchange(self, wire: Wire, commands: Sequence[Command]) -> list[object]:
        """Send commands on a connection, which is closed where there is no answer.

        Raises:
            ConnectionError, TimeoutError: as `Wire.exchange`.
        """
        try:
            return await wire.exchange(commands, self._timeout_s)
        except BaseException:
            # Answers may be on their way: nobody else must read them.
            await self.drop(wire)
            raise

    async def drop(self, wire: Wire) -> None:
        """Close a connection."""
        await wire.connection.disconnect(nowait=True)
        await self._redis.connection_pool.release(wire.connection)

    async def _send_on(self, wire: Wire, commands: Sequence[Command]) -> list[object]:
        answers = await self.exchange(wire, commands)
        self._idle.append(wire)
        return answers

    async def _opened(self) -> Wire:
        pool: Any = self._redis.connection_pool
        return Wire(await pool.get_connection())


class ClusterClient:
    """Redis Cluster: each command goes to the node that holds its slot, side by side."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._redis = RedisCluster.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
        )

    async def send(self, commands: Sequence[Command]) -> list[object]:
        """See `Client.send`."""
        calls = (self._redis.execute_command(*command) for command in commands)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        return list(answers)

    async def hold(self) -> None:
        """See `Client.hold`."""

    async def scan(self, pattern: bytes) -> AsyncIterator[bytes]:
        """See `Client.scan`."""
        async for key in self._redis.scan_iter(match=pattern, count=SCAN_COUNT):
            yield key

    async def close(self) -> None:
        """See `Client.close`."""
        await self._redis.aclose()


def connect(url: str, *, timeout_s: float, cluster: bool) -> Client:
    """Return a client of `url`. Nothing connects yet.

    Raises:
        ConfigError: the URL cannot be read.
    """
    try:
        return ClusterClient(url, timeout_s) if cluster else SingleClient(url, timeout_s)
    except ValueError as error:
        raise ConfigError(
            f"state.url must be a Redis URL, however: state.url={redact(url)!r} ({error})"
        ) from error


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn what redis-py raises into an error with the address and Redis's own words.

    Raises:
        StoreUnavailable: trying again may help.
        StreamError: nothing heals it: the password, the rights, or a key of another type.
    """
    try:
        yield
    except FAILURES as error:
        said = str(error).rstrip(".") or type(error).__name__
        if _is_for_good(error):
            raise StreamError(
                f"the state store must let this worker read and write, however {redact(url)} "
                f"said: {said}; check the user, its password and its rights (state.url), and that "
                "no other application uses these keys"
            ) from error
        raise StoreUnavailable(
            f"the state store must be reachable and writable, however {redact(url)} said: {said}; "
            "check the server and the setting state.url"
        ) from error


def _is_for_good(error: BaseException) -> bool:
    if isinstance(error, AuthenticationError | NoPermissionError):
        return True
    return isinstance(error, ResponseError) and str(error).startswith(_FOR_GOOD)


def _one_more_try() -> Retry:
    # A connection of the pool may have died with the server's last restart; a new one has not.
    return Retry(NoBackoff(), 1)
