"""A connection of redis-py's, once it is open: commands out in one piece, answers in as they come.

redis-py connects, authenticates and encrypts. Its own reading goes through a stream of 64 KB, which
stops and starts the connection again and again while a thousand states come, and through some ten
awaits for each exchange.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

Command = tuple[str | bytes | int, ...]
"""A command's name, then its arguments."""

#: Its stub knows commands of one argument only.
_PACK: Callable[[Command], bytes] = cast(Any, hiredis).pack_command

_NOTHING = object()


class Wire(asyncio.Protocol):
    """See the module's docstring. One exchange at a time.

    Args:
        connection: an open connection, which from now on is used by this alone.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        self.connection = connection
        opened = cast(Any, connection)
        transport = opened._writer.transport
        self._transport: asyncio.Transport = transport
        #: Whoever closes the connection waits for what the protocol before is told.
        self._before: asyncio.Protocol = transport.get_protocol()
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=opened._parser.parse_error,
            notEnoughData=_NOTHING,
        )
        self._wanted, self._answers = 0, list[object]()
        self._all: asyncio.Future[list[object]] | None = None
        transport.set_protocol(self)

    async def exchange(self, commands: Sequence[Command], timeout_s: float) -> list[object]:
        """Send commands and return their answers; one that is an error is among them.

        Raises:
            ConnectionError: redis-py's: the connection is lost.
            TimeoutError: there was no answer in time.
        """
        if self._transport.is_closing():
            raise RedisConnectionError("the server closed the connection")
        loop = asyncio.get_running_loop()
        self._wanted, self._answers, self._all = len(commands), [], loop.create_future()
        timer = loop.call_later(timeout_s, self._fail, TimeoutError("no answer in time"))
        try:
            self._transport.write(packed(commands))
            return await self._all
        finally:
            timer.cancel()
            self._all = None

    def data_received(self, data: bytes) -> None:
        """Take what came, and end the exchange once all answers are there."""
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not _NOTHING:
                if not isinstance(answer, hiredis.PushNotification):
                    self._answers.append(answer)
        except InvalidResponse as error:
            self._fail(error)
            self._transport.close()
            return
        if self._all is not None and len(self._answers) >= self._wanted and not self._all.done():
            self._all.set_result(self._answers)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the exchange under way."""
        said = str(exc) if exc else "the server closed the connection"
        self._fail(RedisConnectionError(said))
        self._before.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass it on."""
        self._before.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._before.resume_writing()

    def _fail(self, error: BaseException) -> None:
        if self._all is not None and not self._all.done():
            self._all.set_exception(error)


def packed(commands: Sequence[Command]) -> bytes:
    """Return commands as the server reads them: RESP arrays of bulk strings.

    redis-py's own connection, which packs argument by argument, takes several times as long for a
    thousand states.
    """
    return b"".join(map(_PACK, commands))
