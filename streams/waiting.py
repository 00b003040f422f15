"""Records of a topic that wait until others have gone on: decoded, and in their order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic

from streams.batch import Batch, ContentT
from streams.clocks import NO_LIMIT
from streams.handling import IsLeft


class Waiting(Generic[ContentT]):
    """See the module's docstring.

    Args:
        most: the most records that are taken together.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._batches: list[Batch[ContentT]] = []

    def __bool__(self) -> bool:
        return bool(self._batches)

    def __iter__(self) -> Iterator[Batch[ContentT]]:
        return iter(self._batches)

    @property
    def partitions(self) -> set[int]:
        """The partitions with records that wait."""
        return {partition for batch in self._batches for partition in batch.epochs}

    @property
    def oldest_ms(self) -> int:
        """The event time of the earliest record, in ms since 1970."""
        earliest = (int(each.content.time_ms.min(initial=NO_LIMIT)) for each in self._batches)
        return min(earliest, default=NO_LIMIT)

    def add(self, batch: Batch[ContentT]) -> None:
        """Let records wait behind the others."""
        self._batches.append(batch)

    def put_back(self, batch: Batch[ContentT]) -> None:
        """Let records wait again, before the others."""
        self._batches.insert(0, batch)

    def clear(self) -> None:
        """Forget them: they are read again, by whoever owns them next."""
        self._batches.clear()

    def take(self, limit_ms: int, is_gone: IsLeft) -> Batch[ContentT] | None:
        """Take the records that need not wait any more; None where all must.

        Args:
            limit_ms: the event time at which records must wait, and all behind them in their
                partition, whatever their time.
            is_gone: whose records are forgotten.
        """
        ready: list[Batch[ContentT]] = []
        rest: list[Batch[ContentT]] = []
        for each in self._batches:
            batch = each.without(is_gone)
            if not len(batch):
                continue
            if sum(map(len, ready)) >= self._most:
                rest.append(batch)
                continue
            blocked = {partition for waiting in rest for partition in waiting.epochs}
            if batch.is_before(limit_ms, blocked):
                ready.append(batch)
                continue
            before, after = batch.cut(limit_ms, blocked)
            ready += [before] if len(before) else []
            rest += [after] if len(after) else []
        self._batches = rest
        return Batch.joined(ready) if ready else None
