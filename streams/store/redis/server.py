"""A server at an address: commands and scripts in, answers out, refusals as this store's errors."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from typing import Self

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from streams.store.redis.client import Held, connect, translated
from streams.store.redis.wire import Command


@dataclass(frozen=True, slots=True)
class Script:
    """A script beside this file: its text, and the digest that the server knows it by."""

    text: str
    sha: str

    @classmethod
    def read(cls, name: str) -> Self:
        """Read a script by the name of its file."""
        text = resources.files(__package__).joinpath(name).read_text("utf-8")
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class Server:
    """A Redis, Valkey or Redis Cluster. Nothing connects before the first call.

    Every method raises what :func:`streams.store.redis.client.translated` raises.

    Args:
        url: `redis://`, `rediss://` or `unix://`; for a cluster, any one of its nodes.
        timeout_s: how long to wait for a connection, and for an answer.
        cluster: whether it is a Redis Cluster.

    Raises:
        ConfigError: the URL cannot be read.
    """

    def __init__(self, url: str, *, timeout_s: float, cluster: bool) -> None:
        self._url = url
        self._client = connect(url, timeout_s=timeout_s, cluster=cluster)

    async def send(self, commands: Sequence[Command]) -> list[object]:
        """Send commands in one round trip; an answer that is an error is returned."""
        with translated(self._url):
            return await self._client.send(commands) if commands else []

    async def ask(self, commands: Sequence[Command]) -> list[object]:
        """Send commands in one round trip and raise the first error among the answers."""
        answers = await self.send(commands)
        self._raise_first(answers)
        return answers

    async def hold(self) -> Held | None:
        """Return a connection for one user alone; None where no one connection has all keys."""
        with translated(self._url):
            return await self._client.hold()

    async def send_on(self, held: Held, commands: Sequence[Command]) -> list[object] | None:
        """Send commands on a connection, as :meth:`send`; None where the connection has died."""
        with translated(self._url), suppress(RedisConnectionError):
            return await held.send(commands)
        return None

    async def run(self, script: Script, tails: Sequence[Command]) -> list[object]:
        """Run a script once for each tail, its number of keys, keys and arguments."""
        answers = await self.send([("EVALSHA", script.sha, *tail) for tail in tails])
        unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        # The server was restarted or its scripts flushed: EVAL runs the script and keeps it.
        if unknown:
            again = await self.ask([("EVAL", script.text, *tails[at]) for at in unknown])
            for at, answer in zip(unknown, again, strict=True):
                answers[at] = answer
        self._raise_first(answers)
        return answers

    async def scan(self, pattern: bytes) -> AsyncIterator[bytes]:
        """Yield the keys that match, some perhaps twice."""
        with translated(self._url):
            async for key in self._client.scan(pattern):
                yield key

    async def close(self) -> None:
        """Give back the connections."""
        await self._client.close()

    def _raise_first(self, answers: Sequence[object]) -> None:
        for answer in answers:
            if isinstance(answer, BaseException):
                with translated(self._url):
                    raise answer
