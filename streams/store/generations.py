"""Which generation of an application's states is in use, and one that is being loaded beside it.

A backfill writes a whole new generation of states, buckets and positions under names of its own,
and switches to it at the end by one write. Workers look at their start which generation is in use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Loading:
    """A generation that is being loaded.

    Args:
        generation: its number.
        done: how many chunks have been loaded.
    """

    generation: int
    done: int


class Generations(Protocol):
    """The generations of one application and model.

    Every method raises `StoreUnavailable` where the store cannot be reached or refuses.
    """

    async def current(self) -> int:
        """Return the generation in use; 0 at first."""
        ...

    async def begin(self, digest: str) -> Loading:
        """Begin to load a new generation, or go on with one of the same content."""
        ...

    async def note(self, done: int) -> None:
        """Note how many chunks of the new generation have been loaded."""
        ...

    async def switch(self, generation: int) -> None:
        """Use the new generation from now on."""
        ...

    async def drop(self, generation: int) -> int:
        """Delete a generation, and return the number of its keys."""
        ...

    async def close(self) -> None:
        """Give back connections. Closing twice is fine."""
        ...


def named(namespace: str, generation: int) -> str:
    """Return the namespace of one generation.

    >>> named("app.d1", 0), named("app.d1", 2)
    ('app.d1', 'app.d1~2')
    """
    return namespace if generation == 0 else f"{namespace}~{generation}"


def generation_of(name: str) -> tuple[str, int]:
    """Return the namespace that a name is of, and the generation.

    >>> generation_of("app.d1"), generation_of("app.d1~2")
    (('app.d1', 0), ('app.d1', 2))
    """
    namespace, _, generation = name.partition("~")
    return namespace, int(generation) if generation.isdecimal() else 0
