"""States that this worker wrote last, kept in memory: written through, and not read again.

A partition has one writer, and its states are made of all records before its position. So where
the store's position is the one that this worker wrote, its states are those that it wrote. Where it
is another, where a write was refused or failed, and where the partition was taken anew, what is
known of it is forgotten.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from time import monotonic

from streams.store.base import PartitionWrite, Snapshot, Store, WriteOutcome


class HotStates:
    """The states that were written last, of up to a number of accounts.

    They are kept in two generations. A new one begins when half the room is used, or after half
    the time that the store keeps states; the one before the last is forgotten. So what is used
    stays, nothing outlives its copy in the store, and an account needs no more than its place in a
    dictionary.

    Args:
        most: the number of accounts.
        keep_s: how long the store keeps a state that is not written; None for ever.
        clock: seconds, of any origin.
    """

    def __init__(
        self, most: int, keep_s: float | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._most, self._keep_s, self._clock = most, keep_s, clock
        self._young: dict[int, dict[str, bytes]] = {}
        self._old: dict[int, dict[str, bytes]] = {}
        self._count = 0
        self._since_s = clock()

    def __len__(self) -> int:
        return sum(map(len, self._young.values())) + sum(map(len, self._old.values()))

    def get(self, partition: int, accounts: Sequence[str]) -> list[bytes | None]:
        """Return the states of accounts; None for one that is not known."""
        self._turn(0)
        young, old = self._young.get(partition, {}), self._old.get(partition)
        found = list(map(young.get, accounts))
        if not old:
            return found
        return [
            old.get(account) if state is None else state
            for account, state in zip(accounts, found, strict=True)
        ]

    def put(self, partition: int, states: Mapping[str, bytes]) -> None:
        """Take what was written."""
        self._turn(len(states))
        young = self._young.setdefault(partition, {})
        before = len(young)
        young.update(states)
        self._count += len(young) - before

    def drop(self, partition: int) -> None:
        """Forget a partition."""
        self._count -= len(self._young.pop(partition, ()))
        self._old.pop(partition, None)

    def _turn(self, more: int) -> None:
        """Begin a new generation where it is time."""
        now_s = self._clock()
        is_old = self._keep_s is not None and now_s - self._since_s >= self._keep_s / 2
        if not is_old and self._count + more <= self._most // 2:
            return
        self._old, self._young = self._young, {}
        self._count, self._since_s = 0, now_s


class HotStore:
    """A `Store` in front of another that reads only what this worker has not written.

    Args:
        store: the other.
        hot: where states are kept.
    """

    def __init__(self, store: Store, hot: HotStates) -> None:
        self._store = store
        self._hot = hot
        self._at: dict[int, int | None] = {}
        self._writing: dict[int, int | None] = {}

    async def positions(self, partitions: Iterable[int]) -> dict[int, int | None]:
        """See `Store.positions`. A partition whose position is not as known is forgotten."""
        asked = list(partitions)
        before = self._known(asked)
        found = await self._store.positions(asked)
        self._compare(found, before)
        for partition, position in found.items():
            self._at.setdefault(partition, position)
        return found

    def forget(self, partitions: Iterable[int]) -> None:
        """See `Store.forget`."""
        for partition in partitions:
            self._forget(partition)

    async def read(self, wanted: Mapping[int, Sequence[str]], *, fresh: bool = False) -> Snapshot:
        """See `Store.read`; states that are known are not read."""
        states = {each: self._hot.get(each, accounts) for each, accounts in wanted.items()}
        missing = {
            partition: [
                account
                for account, state in zip(accounts, states[partition], strict=True)
                if state is None
            ]
            for partition, accounts in wanted.items()
        }
        asked = {
            partition: accounts
            for partition, accounts in missing.items()
            if accounts or fresh or partition not in self._at
        }
        if not asked:
            return Snapshot({each: self._at[each] for each in wanted}, states)
        before = self._known(asked)
        found = await self._store.read(asked)
        self._compare(found.positions, before)
        for partition in asked:
            more = iter(found.states[partition])
            if missing[partition]:
                states[partition] = [
                    next(more) if each is None else each for each in states[partition]
                ]
        known = {each: self._at.get(each) for each in wanted}
        return Snapshot({**known, **found.positions}, states)

    async def write(self, writes: Sequence[PartitionWrite]) -> list[WriteOutcome]:
        """See `Store.write`; what was written is kept."""
        writing = {write.partition: write.position for write in writes}
        self._writing |= writing
        try:
            outcomes = await self._store.write(writes)
        except BaseException:
            for write in writes:
                self._forget(write.partition)
            raise
        finally:
            for partition in writing:
                self._writing.pop(partition, None)
        for write, outcome in zip(writes, outcomes, strict=True):
            if outcome.done:
                self._hot.put(write.partition, write.states)
                self._at[write.partition] = outcome.stored
            else:
                self._forget(write.partition)
        return outcomes

    async def load(self, partition: int, states: Mapping[str, bytes]) -> None:
        """See `Store.load`."""
        self._forget(partition)
        await self._store.load(partition, states)

    def states(self, partition: int) -> AsyncIterator[tuple[str, bytes]]:
        """See `Store.states`."""
        return self._store.states(partition)

    async def ping(self) -> None:
        """See `Store.ping`."""
        await self._store.ping()

    async def close(self) -> None:
        """See `Store.close`."""
        await self._store.close()

    def _compare(
        self, found: Mapping[int, int | None], before: Mapping[int, set[int | None]]
    ) -> None:
        """Forget partitions of which the store lost writes, or has some of another worker.

        A position says which records its states are made of: where it is the same, so are they.
        """
        after = self._known(found)
        for partition, position in found.items():
            if position not in before[partition] | after[partition]:
                self._forget(partition)

    def _known(self, partitions: Iterable[int]) -> dict[int, set[int | None]]:
        """Return the positions that a partition may have: as written, or as is being written."""
        return {
            each: {at[each] for at in (self._at, self._writing) if each in at}
            for each in partitions
        }

    def _forget(self, partition: int) -> None:
        self._hot.drop(partition)
        self._at.pop(partition, None)
