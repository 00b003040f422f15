"""Shared entities in dictionaries: the engine's own arithmetic, and nothing survives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.knowledge import RingTable
from engine.shared import SharedEntity
from streams.store.shared import ShardAdd, Source


class MemorySharedStore:
    """A `SharedStore` whose workers share it by sharing the object."""

    def __init__(self, shared: Sequence[SharedEntity], shards: int) -> None:
        self.shards = shards
        self._tables = {each.name: RingTable(each) for each in shared}
        self._positions: dict[Source, int] = {}
        self._entries: dict[int, bytes] = {}
        self._clocks: dict[str, bytes] = {}

    async def positions(self, sources: Sequence[Source]) -> dict[Source, int | None]:
        """See `SharedStore.positions`."""
        return {each: self._positions.get(each) for each in sources}

    async def rings(self, wanted: Mapping[str, NDArray[np.int64]]) -> dict[str, list[bytes | None]]:
        """See `SharedStore.rings`."""
        return {kind: self._tables[kind].encoded(hashes) for kind, hashes in wanted.items()}

    async def add(self, adds: Sequence[ShardAdd]) -> list[int | None]:
        """See `SharedStore.add`."""
        for each in adds:
            if self._positions.get(each.source) == each.expected:
                self._add(each)
                self._positions[each.source] = each.position
        return [self._positions.get(each.source) for each in adds]

    async def entries(self, events: Sequence[int]) -> list[bytes | None]:
        """See `SharedStore.entries`."""
        return [self._entries.get(each) for each in events]

    async def load(
        self, rings: Mapping[str, Mapping[int, bytes]], entries: Mapping[int, bytes]
    ) -> None:
        """See `SharedStore.load`."""
        for kind, found in rings.items():
            for hashed, raw in found.items():
                self._tables[kind].put(hashed, raw)
        self._entries |= entries

    async def load_positions(self, positions: Mapping[Source, int]) -> None:
        """See `SharedStore.load_positions`."""
        self._positions |= positions

    async def clocks(self, mine: Mapping[str, bytes]) -> dict[str, bytes]:
        """See `SharedStore.clocks`."""
        self._clocks |= mine
        return dict(self._clocks)

    async def every_ring(self, kind: str) -> AsyncIterator[tuple[int, bytes]]:
        """See `SharedStore.every_ring`."""
        for found in list(self._tables[kind].rings()):
            yield found

    async def close(self) -> None:
        """See `SharedStore.close`."""

    def _add(self, add: ShardAdd) -> None:
        for kind, added in add.additions.items():
            self._tables[kind].add(added)
        self._entries |= {
            event: entry
            for event, entry in add.entries.items()
            if not add.known_only or event in self._entries
        }
