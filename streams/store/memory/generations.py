"""Generations of a store that lives in one process: there is one, and nothing to load into."""

from __future__ import annotations

from engine.errors import ConfigError
from streams.store.generations import Loading


class MemoryGenerations:
    """See `Generations`."""

    async def current(self) -> int:
        """See `Generations.current`."""
        return 0

    async def begin(self, digest: str) -> Loading:
        """Refuse. Raises :class:`ConfigError`."""
        raise ConfigError(
            "a backfill must have a store that outlives it, however: state.url is memory://; "
            "give the address of a Redis or Valkey"
        )

    async def note(self, done: int) -> None:
        """See `Generations.note`."""

    async def switch(self, generation: int) -> None:
        """See `Generations.switch`."""

    async def drop(self, generation: int) -> int:
        """See `Generations.drop`."""
        return 0

    async def close(self) -> None:
        """See `Generations.close`."""
