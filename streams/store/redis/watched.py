"""Writes that WATCH guards: what the script does, in half of the server's time.

The script reads a partition's position and writes only where it is the expected one. A transaction
cannot look; but EXEC does nothing where a key was changed since it was watched. So positions are
watched, then read, and a transaction is begun. The next write goes into it and ends it, and in the
same round trip positions are watched and read again, and the next transaction is begun: a write is
sent only where the server is known to guard it. (To Lua each argument is one more text to make;
`python -m benchmarks.store_writes` measures both.)

The script decides wherever this does not: a position is not the expected one, EXEC did nothing, the
server does not know MSETEX (it came with Valkey 9.1 and Redis 8.4), the user has no right to it,
there are too many partitions, or the server is a cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import cast

from engine.errors import StoreUnavailable
from streams.store.base import PartitionWrite
from streams.store.redis.client import Held
from streams.store.redis.keys import Keys
from streams.store.redis.server import Server
from streams.store.redis.wire import Command

#: Watching takes time for each partition, and a batch of a calm stream has few of many.
MOST_PARTITIONS = 64
#: So often in turn is the server asked for what it answers with an error.
MOST_REFUSALS = 3


@dataclass(frozen=True, slots=True)
class _Begun:
    """A transaction that was begun.

    Args:
        held: the connection.
        positions: of the partitions that it watches, as they were read after that.
    """

    held: Held
    positions: dict[int, object]

    def is_for(self, writes: Sequence[PartitionWrite]) -> bool:
        """Whether each write, one a partition, expects the position that was read."""
        expected = {
            each.partition: None if each.expected is None else b"%d" % each.expected
            for each in writes
        }
        if not writes or len(expected) < len(writes):
            return False
        return all(self.positions.get(each, b"") == at for each, at in expected.items())


class Watched:
    """The transaction that the next write goes into.

    Args:
        server: where to.
        keys: the names of the keys.
        expire_s: seconds after its last write that an account is forgotten; 0 for never.
    """

    def __init__(self, server: Server, keys: Keys, expire_s: int) -> None:
        self._server, self._keys, self._expire_s = server, keys, expire_s
        self._begun: _Begun | None = None
        self._refusals = 0

    async def write(self, writes: Sequence[PartitionWrite]) -> bool:
        """Write all partitions' states and positions, or nothing; return whether it was done.

        Raises:
            StoreUnavailable, StreamError: as `Server.send`. All may have been written, or nothing.
        """
        begun = self._begun
        if begun is None or not begun.is_for(writes):
            return False
        # Nobody else may take it meanwhile.
        self._begun = None
        commands, watched = self._transaction(writes), list(begun.positions)
        every = [*commands, *self._beginning(watched)]
        answers = await self._server.send_on(begun.held, every)
        if answers is None:
            return False
        ended = answers[: len(commands)]
        if _is_done(ended):
            self._refusals = 0
            await self._take(begun.held, watched, answers[len(commands) :])
            return True
        self._refusals += _has_error(ended)
        await begun.held.close()
        return False

    async def begin(self, partitions: Iterable[int]) -> None:
        """Begin a transaction for these partitions too; nothing is lost where that fails.

        Raises:
            StreamError: as `Server.hold`.
        """
        asked = list(partitions)
        if not 0 < len(asked) <= MOST_PARTITIONS or self._refusals >= MOST_REFUSALS:
            return
        begun, self._begun = self._begun, None
        known = [] if begun is None else list(begun.positions)
        # Those that were written last, first: others may have moved to another worker.
        wanted = list(dict.fromkeys([*asked, *known]))[:MOST_PARTITIONS]
        ending: list[Command] = [] if begun is None else [("DISCARD",)]
        with suppress(StoreUnavailable):
            held = await self._server.hold() if begun is None else begun.held
            if held is None:
                self._refusals = MOST_REFUSALS
                return
            answers = await self._server.send_on(held, [*ending, *self._beginning(wanted)])
            if answers is not None:
                await self._take(held, wanted, answers[len(ending) :])

    def _transaction(self, writes: Sequence[PartitionWrite]) -> list[Command]:
        """Return the commands that write all and end the transaction."""
        pairs: list[bytes] = []
        for write in writes:
            keys = self._keys.states(write.partition, list(write.states))
            pairs += chain.from_iterable(zip(keys, write.states.values(), strict=True))
        positions = [self._keys.position(each.partition) for each in writes]
        for key, write in zip(positions, writes, strict=True):
            pairs += (key, b"%d" % write.position)
        if not self._expire_s:
            return [("MSET", *pairs), ("EXEC",)]
        # A position is written with its states, so that no error is between them, and then stays.
        every: Command = ("MSETEX", len(pairs) // 2, *pairs, "EX", self._expire_s)
        return [every, *(("PERSIST", key) for key in positions), ("EXEC",)]

    def _beginning(self, partitions: Sequence[int]) -> list[Command]:
        """Return the commands that watch and read positions and begin a transaction."""
        keys = [self._keys.position(each) for each in partitions]
        return [("WATCH", *keys), ("MGET", *keys), ("MULTI",)]

    async def _take(self, held: Held, partitions: Sequence[int], answers: Sequence[object]) -> None:
        """Take what was begun for the next write, by the answers to its commands."""
        if _has_error(answers):
            self._refusals += 1
            await held.close()
            return
        positions = dict(zip(partitions, cast(list[object], answers[1]), strict=True))
        # Another call may have begun one meanwhile.
        other, self._begun = self._begun, _Begun(held, positions)
        if other is not None:
            await other.held.close()


def _has_error(answers: Sequence[object]) -> bool:
    return any(isinstance(each, BaseException) for each in answers)


def _is_done(answers: Sequence[object]) -> bool:
    """Whether a transaction was executed as a whole, by the answers to its commands."""
    *queued, results = answers
    if not isinstance(results, list) or len(results) != len(queued):
        return False
    return not _has_error([*queued, *results])
