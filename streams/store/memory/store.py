"""A state store in a dictionary. Nothing survives the process, and nothing expires."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streams.store.base import PartitionWrite, Snapshot, WriteKind, WriteOutcome, judge


@dataclass(slots=True)
class _Partition:
    position: int | None = None
    states: dict[str, bytes] = field(default_factory=dict)


class MemoryStore:
    """A `Store` whose workers share it by sharing the object."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}

    async def positions(self, partitions: Iterable[int]) -> dict[int, int | None]:
        """See `Store.positions`."""
        return {partition: self._of(partition).position for partition in partitions}

    def forget(self, partitions: Iterable[int]) -> None:
        """See `Store.forget`: nothing else is known."""

    async def read(self, wanted: Mapping[int, Sequence[str]], *, fresh: bool = False) -> Snapshot:
        """See `Store.read`."""
        kept = {partition: self._of(partition) for partition in wanted}
        return Snapshot(
            {partition: each.position for partition, each in kept.items()},
            {
                partition: [kept[partition].states.get(account) for account in accounts]
                for partition, accounts in wanted.items()
            },
        )

    async def write(self, writes: Sequence[PartitionWrite]) -> list[WriteOutcome]:
        """See `Store.write`."""
        return [self._write_one(write) for write in writes]

    async def load(self, partition: int, states: Mapping[str, bytes]) -> None:
        """See `Store.load`."""
        self._of(partition).states.update(states)

    async def states(self, partition: int) -> AsyncIterator[tuple[str, bytes]]:
        """See `Store.states`."""
        for account, state in list(self._of(partition).states.items()):
            yield account, state

    async def ping(self) -> None:
        """See `Store.ping`."""

    async def close(self) -> None:
        """See `Store.close`."""

    def _write_one(self, write: PartitionWrite) -> WriteOutcome:
        kept = self._of(write.partition)
        kind = judge(kept.position, write)
        if kind is WriteKind.APPLIED:
            kept.states.update(write.states)
            kept.position = write.position
        return WriteOutcome(write.partition, kind, kept.position)

    def _of(self, partition: int) -> _Partition:
        return self._partitions.setdefault(partition, _Partition())
