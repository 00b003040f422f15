"""Writes that WATCH guards: what the script does, in half of the server's time.

The script reads a partition's position and writes only where it is the expected one. A transaction
cannot look; but EXEC does nothing where a key was changed since it was watched. So positions are
watched, then read, and a transaction is begun. The next write goes into it and ends it, and in the
same round trip positions are watched and read again, and the next transaction is begun: a write is
sent only where the server is known to guard it. (To Lua each argument is one more text to make;
`python -m benchmarks.store_writes` measures both.)

The script decides wherever this does not: a position is not the expected one, EXEC did nothing, the
server does not know MSETEX (it came with Valkey 9.1 and Redis 8.4), or is a cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from typing import cast

from redis.exceptions import NoPermissionError

from engine.errors import StoreUnavailable
from streams.store.base import PartitionWrite
from streams.store.redis.client import Held
from streams.store.redis.keys import Keys
from streams.store.redis.server import Server
from streams.store.redis.wire import Command

#: Watching takes time for each partition, and a batch of a calm stream has few of many.
MOST_PARTITIONS = 64
_NEVER = ("unknown command", "CROSSSLOT")


class Watched:
    """The positions that one connection watches, and writes that rely on them.

    Args:
        server: where to.
        keys: the names of the keys.
        expire_s: seconds after its last write that an account is forgotten; 0 for never.
    """

    def __init__(self, server: Server, keys: Keys, expire_s: int) -> None:
        self._server, self._keys, self._expire_s = server, keys, expire_s
        self._held: Held | None = None
        #: As they were read after they were watched.
        self._positions: dict[int, object] = {}
        self._is_possible = True

    def forget(self, partitions: Iterable[int]) -> None:
        """Watch these no more."""
        for partition in partitions:
            self._positions.pop(partition, None)

    async def write(self, writes: Sequence[PartitionWrite]) -> bool:
        """Write all partitions' states and positions, or nothing; return whether it was done.

        Raises:
            StoreUnavailable, StreamError: as `Server.send`. All may have been written, or nothing.
        """
        held = self._held
        if held is None or not self._are_as_expected(writes):
            return False
        commands, watched = self._transaction(writes), list(self._positions)
        # Nobody else may take it meanwhile; it comes back once it watches again.
        self._held, self._positions = None, {}
        answers = await self._server.send_on(held, [*commands, *self._watching(watched)])
        if answers is None:
            return False
        done = _is_done(answers[: len(commands)])
        if done:
            await self._take(held, watched, answers[len(commands) :])
        else:
            await self._give_up(held, for_good=any(map(_is_for_good, answers)))
        return done

    async def begin(self, partitions: Iterable[int]) -> None:
        """Watch these partitions too, for the next write; nothing is lost where that fails."""
        wanted = list({*self._positions, *partitions})
        if not self._is_possible or len(wanted) > MOST_PARTITIONS:
            return
        held, self._held, self._positions = self._held, None, {}
        with suppress(StoreUnavailable):
            held = held or await self._server.hold()
            if held is None:
                self._is_possible = False
                return
            # One may have been begun; that there is none is an error that does not matter.
            commands: list[Command] = [("DISCARD",), ("UNWATCH",), *self._watching(wanted)]
            answers = await self._server.send_on(held, commands)
            if answers is not None:
                await self._take(held, wanted, answers[2:])

    def _are_as_expected(self, writes: Sequence[PartitionWrite]) -> bool:
        """Whether the positions are those that the writes, one a partition, expect."""
        expected = {
            each.partition: None if each.expected is None else b"%d" % each.expected
            for each in writes
        }
        if not len(expected) == len(writes) > 0:
            return False
        return all(self._positions.get(each, b"") == at for each, at in expected.items())

    def _transaction(self, writes: Sequence[PartitionWrite]) -> list[Command]:
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

    def _watching(self, partitions: Sequence[int]) -> list[Command]:
        keys = [self._keys.position(each) for each in partitions]
        return [("WATCH", *keys), ("MGET", *keys), ("MULTI",)]

    async def _take(self, held: Held, partitions: Sequence[int], answers: Sequence[object]) -> None:
        if any(isinstance(each, BaseException) for each in answers):
            await self._give_up(held, for_good=True)
            return
        self._held = held
        self._positions = dict(zip(partitions, cast(list[object], answers[1]), strict=True))

    async def _give_up(self, held: Held, *, for_good: bool) -> None:
        """Watch nothing until it is begun again; never, where the server does not do this."""
        if for_good:
            self._is_possible = False
            await held.close()
        else:
            self._held = held


def _is_done(answers: Sequence[object]) -> bool:
    """Whether a transaction was executed, by the answers to its commands."""
    results = answers[-1]
    return isinstance(results, list) and not isinstance(results[0], BaseException)


def _is_for_good(answer: object) -> bool:
    if isinstance(answer, NoPermissionError):
        return True
    return isinstance(answer, BaseException) and any(each in str(answer) for each in _NEVER)
