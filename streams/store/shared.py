"""What a store of shared entities promises to the engine.

Entities are spread over shards by their hash. A shard holds rings of time buckets
(:mod:`engine.buckets`), what labels will need of past events, and for each partition of a topic one
position: what lies before it has been added here. Nothing is ever overwritten, events and labels
only add, and an addition and its position change together or not at all. So whoever reads a
partition again adds nothing twice, whatever has become of the one who read it before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.buckets import Additions

#: A shard, a topic and a partition of it.
Source = tuple[int, str, int]


@dataclass(frozen=True, slots=True)
class ShardAdd:
    """What one partition's events or labels add to one shard.

    Args:
        source: the shard, the topic and the partition.
        expected: the position that the shard is believed to hold for this partition; None for
            none.
        position: the position that this brings it to.
        additions: kind of entity to what is added to its rings.
        entries: event hash to what labels will need of it.
        known_only: whether entries change what is kept of past events, and nothing is kept of
            those forgotten meanwhile.
    """

    source: Source
    expected: int | None
    position: int
    additions: Mapping[str, Additions] = field(default_factory=dict)
    entries: Mapping[int, bytes] = field(default_factory=dict)
    known_only: bool = False


class SharedStore(Protocol):
    """Rings of shared entities, and past events that labels may come for.

    Every method raises `StoreUnavailable` where the store cannot be reached or refuses. A call
    that failed may have been applied; sending it again is safe.

    Attributes:
        shards: over how many shards entities are spread.
    """

    shards: int

    async def positions(self, sources: Sequence[Source]) -> dict[Source, int | None]:
        """Return each shard's position of each partition; None where there is none."""
        ...

    async def rings(self, wanted: Mapping[str, NDArray[np.int64]]) -> dict[str, list[bytes | None]]:
        """Return the rings of entities, in the order asked; None for one that has none.

        Args:
            wanted: kind of entity to the hashes, int64 ``[u]``. All are read in one round trip.
        """
        ...

    async def add(self, adds: Sequence[ShardAdd]) -> list[int | None]:
        """Add, in one round trip, and return the positions that the shards hold then.

        Nothing is added where the shard's position is not the expected one; the answer is then
        not the position wanted, except where that very addition was made before.
        """
        ...

    async def entries(self, events: Sequence[int]) -> list[bytes | None]:
        """Return what is kept of past events, by their hash; None for an unknown one."""
        ...

    async def load(
        self, rings: Mapping[str, Mapping[int, bytes]], entries: Mapping[int, bytes]
    ) -> None:
        """Put rings and past events where no worker reads yet.

        Args:
            rings: kind of entity to hash to ring.
            entries: event hash to what labels will need of it.
        """
        ...

    async def load_positions(self, positions: Mapping[Source, int]) -> None:
        """Put positions where no worker reads yet."""
        ...

    async def clocks(self, mine: Mapping[str, bytes]) -> dict[str, bytes]:
        """Note what this worker says of its partitions, and return what all say of theirs."""
        ...

    def every_ring(self, kind: str) -> AsyncIterator[tuple[int, bytes]]:
        """Yield each entity's hash with its ring, in no order. For tools and tests."""
        ...

    async def close(self) -> None:
        """Give back connections. Closing twice is fine."""
        ...


def shard_of(hashed: int, shards: int) -> int:
    """Return the shard of an entity or event by its hash."""
    return hashed % shards
