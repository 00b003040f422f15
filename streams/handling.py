"""What a lane asks of whoever processes its batches, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

from streams.batch import Batch, ContentT
from streams.consumed import Consumed
from streams.store.base import WriteOutcome

#: Whether a partition is to be left alone, by its number and the epoch of its records: it is
#: another worker's, or is about to be read again.
IsLeft = Callable[[int, int], bool]


@dataclass(slots=True)
class Outcome:
    """What some records came to.

    Args:
        done: partitions whose records have had their effect, and the offset after these.
        rewind: partitions to read again from an offset on (None: from the beginning), since the
            store is behind. They are not taken until they are owned again.
        fenced: partitions that another worker owns.
    """

    done: dict[int, int] = field(default_factory=dict)
    rewind: dict[int, int | None] = field(default_factory=dict)
    fenced: list[int] = field(default_factory=list)

    def add(self, more: Outcome) -> None:
        """Take in what came of records after these."""
        self.done |= more.done
        self.rewind |= more.rewind
        self.fenced += more.fenced


ReadT = TypeVar("ReadT", covariant=True)


class Handler(Protocol[ReadT]):
    """Takes batches of one topic through all their steps."""

    def decode(self, records: Consumed, received_ms: int) -> ReadT:
        """Return what records say."""
        ...

    async def own(self, partitions: Iterable[int]) -> None:
        """Learn what must be known of partitions that this worker reads from now on."""
        ...


class Stepwise(Handler[ContentT], Protocol[ContentT]):
    """A handler that takes one batch after the other."""

    async def handle(
        self, batch: Batch[ContentT], stored: Mapping[int, int | None]
    ) -> list[WriteOutcome]:
        """Process a batch and write the positions it brings its partitions to.

        Args:
            batch: the records.
            stored: the position that the store holds of each partition.

        Raises:
            Interrupted: the batch was given up while a server was away.
        """
        ...


class Begun(Protocol):
    """A batch of which all is computed, and that has had no effect yet."""

    async def finish(self, stored: Mapping[int, int | None]) -> list[WriteOutcome]:
        """Let it have its effect, and write the positions it brings its partitions to.

        Args:
            stored: the position that the store holds of each partition.

        Raises:
            Interrupted: the batch was given up while a server was away.
        """
        ...


BegunT = TypeVar("BegunT", bound=Begun)


@runtime_checkable
class Overlapping(Handler[ContentT], Protocol[ContentT, BegunT]):
    """A handler whose next batch may be computed while the last has its effect."""

    async def begin(
        self, batch: Batch[ContentT], stored: Mapping[int, int | None], ahead: BegunT | None
    ) -> BegunT:
        """Compute what comes of a batch.

        Args:
            batch: the records.
            stored: the position that the store will hold of each partition once ``ahead`` has
                had its effect.
            ahead: the batch before, where it may not have had its effect yet.

        Raises:
            Interrupted: as above.
        """
        ...
