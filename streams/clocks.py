"""How far each partition is in event time, and how far others may go because of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from engine.shared import SharedEntity

#: A topic and a partition of it.
Place = tuple[str, int]

#: Nothing is held back.
NO_LIMIT = 2**62


@dataclass(frozen=True, slots=True)
class Clock:
    """How far a partition is.

    Args:
        time_ms: the event time of the next record to process, in ms since 1970: all before has
            had its effect. None where nothing has been read yet.
        quiet_ms: since when the partition has been read to its end, by the wall clock; None where
            there is something to read.
        said_ms: when its worker said so, by the wall clock.
        polled_ms: when a quiet one was polled last, by the wall clock; None for when it was said.
            While Kafka is away none is polled, and workers go on saying so.
    """

    time_ms: int | None
    quiet_ms: int | None
    said_ms: int
    polled_ms: int | None = None

    @property
    def seen_ms(self) -> int:
        """When it was known to be so, by the wall clock."""
        return self.said_ms if self.polled_ms is None else self.polled_ms

    def is_idle(self, busy_ms: int, idle_ms: int) -> bool:
        """Whether nothing is to be expected of a partition.

        Args:
            busy_ms: since when records have been coming anywhere, by the wall clock: before that,
                a partition was quiet because all were.
            idle_ms: for how long a partition must have been quiet since then.
        """
        if self.quiet_ms is None:
            return False
        return self.seen_ms - max(self.quiet_ms, busy_ms) >= idle_ms

    def until_polled(self) -> Clock:
        """Return it with the time of its last poll, by which nothing was left to read.

        Only for records of the present: what happened before the poll has been published.
        """
        if self.quiet_ms is None:
            return self
        return replace(self, time_ms=max(self.time_ms or 0, self.seen_ms))

    def to_bytes(self) -> bytes:
        """Return it as the state store holds it."""
        said = (self.time_ms, self.quiet_ms, self.said_ms, self.polled_ms)
        return ",".join("" if each is None else str(each) for each in said).encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Clock:
        """Read it from the state store."""
        time_ms, quiet_ms, said_ms, polled_ms = (
            int(each) if each else None for each in raw.split(b",")
        )
        return cls(time_ms, quiet_ms, said_ms or 0, polled_ms)


def slowest(clocks: Iterable[Clock]) -> int:
    """Return the event time that partitions have reached, in ms since 1970.

    One that nothing has been read of yet has reached none. Without any partition there is no limit.
    """
    times = [0 if clock.time_ms is None else clock.time_ms for clock in clocks]
    return min(times, default=NO_LIMIT)


def limit_of(shared: Sequence[SharedEntity], slowest_ms: int, grace_ms: int) -> int:
    """Return the event time before which events may be scored, in ms since 1970.

    Such an event reads no bucket whose end the slowest partition has not passed, and lies at most
    the grace ahead of it.

    Args:
        shared: the kinds of entity.
        slowest_ms: how far the slowest partition is.
        grace_ms: how far a partition may be ahead.
    """
    if slowest_ms >= NO_LIMIT or not shared:
        return NO_LIMIT
    closes = [
        (slowest_ms // (1000 * each.bucket_s) + 1) * 1000 * each.bucket_s + 1000 * each.grace_s
        for each in shared
    ]
    return min(slowest_ms + grace_ms + 1, *closes)


def now_ms() -> int:
    """Return the time by the wall clock, in ms since 1970."""
    return time.time_ns() // 1_000_000
