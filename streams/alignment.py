"""Keeping partitions together in event time where the stream runs faster than life.

A score reads closed buckets only. They are closed for good once every partition, of events and of
labels, has been read past their end. At life speed that is so by itself; in a replay, or while
catching up, one partition may be read days ahead of another. So each partition has a clock, and
none is taken further than the slowest allows (:func:`limit_of`). Workers tell each other their
clocks through the state store.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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
        is_idle: whether there is nothing to read, so that it holds up nobody.
        said_ms: when this was so, by the wall clock.
    """

    time_ms: int | None
    is_idle: bool
    said_ms: int

    def to_bytes(self) -> bytes:
        """Return it as the state store holds it."""
        shown = "" if self.time_ms is None else self.time_ms
        return f"{shown},{int(self.is_idle)},{self.said_ms}".encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Clock:
        """Read it from the state store."""
        shown, idle, said = raw.decode().split(",")
        return cls(int(shown) if shown else None, idle == "1", int(said))


def slowest(clocks: Iterable[Clock]) -> int:
    """Return the event time that all partitions have reached, in ms since 1970.

    Those without anything to read do not count; without any that does, there is no limit.
    """
    times = [0 if clock.time_ms is None else clock.time_ms for clock in clocks if not clock.is_idle]
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


class Alignment:
    """The clocks of this worker's partitions and of the others'.

    Args:
        shared: the kinds of entity; without any, nothing is ever held back.
        events_topic: the topic of events. Labels are taken up to the slowest of its partitions,
            so that no label comes before its event.
        grace_ms: how far, in event time, a partition may be ahead of the slowest.
        idle_s: a partition that has been read to its end for so long has nothing to read.
        stale_s: another worker that has said nothing for so long holds up nobody.
    """

    def __init__(
        self,
        shared: Sequence[SharedEntity],
        events_topic: str,
        grace_ms: int,
        idle_s: float,
        stale_s: float,
    ) -> None:
        self._shared = shared
        self._events_topic = events_topic
        self._grace_ms, self._idle_s, self._stale_ms = grace_ms, idle_s, round(stale_s * 1000)
        self._started_ms = _now_ms()
        self._reached: dict[Place, int | None] = {}
        self._heads: dict[Place, int] = {}
        self._quiet_s: dict[Place, float | None] = {}
        self._others: dict[Place, Clock] = {}
        self._said: dict[Place, Clock] = {}

    @property
    def is_on(self) -> bool:
        """Whether there is anything to align for."""
        return bool(self._shared)

    def own(self, place: Place, is_caught_up: bool) -> None:
        """Start the clock of a partition that this worker now reads.

        Args:
            place: the partition.
            is_caught_up: whether it is known that there is nothing to read.
        """
        self._reached[place] = None
        self._heads.pop(place, None)
        self._quiet_s[place] = -math.inf if is_caught_up else None
        self._others.pop(place, None)

    def leave(self, topic: str) -> None:
        """Forget the clocks of a topic's partitions, which go to other workers."""
        for place in [each for each in self._reached if each[0] == topic]:
            del self._reached[place], self._quiet_s[place]
            self._heads.pop(place, None)
            self._said.pop(place, None)

    def arrived(self, place: Place) -> None:
        """Note that records came."""
        self._quiet_s[place] = None

    def quiet(self, place: Place) -> None:
        """Note that a partition has been read to its end."""
        if self._quiet_s.get(place) is None:
            self._quiet_s[place] = time.monotonic()

    def hold(self, place: Place, head_ms: int | None) -> None:
        """Note the event time of the first record that waits; None where none does."""
        if head_ms is None:
            self._heads.pop(place, None)
        else:
            self._heads[place] = head_ms

    def processed(self, place: Place, until_ms: int) -> None:
        """Note that records up to an event time have had their effect."""
        reached = self._reached.get(place)
        if place in self._reached and (reached is None or until_ms > reached):
            self._reached[place] = until_ms

    def hear(self, clocks: Mapping[Place, Clock]) -> None:
        """Take in what all workers say of their partitions."""
        self._others = {place: each for place, each in clocks.items() if place not in self._reached}

    def mine(self) -> dict[Place, Clock]:
        """Return the clocks of this worker's partitions."""
        return {place: self._clock(place) for place in self._reached}

    def news(self) -> dict[Place, Clock]:
        """Return those of this worker's clocks that others should hear of."""
        step_ms = self._grace_ms // 8
        return {
            place: clock
            for place, clock in self.mine().items()
            if _differs(self._said.get(place), clock, step_ms)
        }

    def told(self, news: Mapping[Place, Clock]) -> None:
        """Note that others have heard of clocks."""
        self._said |= news

    def slowest(self, events_only: bool = False) -> int:
        """Return the event time that all partitions have reached, in ms since 1970."""
        oldest_ms = _now_ms() - self._stale_ms
        heard = {
            place: clock
            for place, clock in self._others.items()
            if max(clock.said_ms, self._started_ms) >= oldest_ms
        }
        return slowest(
            clock
            for place, clock in {**heard, **self.mine()}.items()
            if not events_only or place[0] == self._events_topic
        )

    def limit(self, topic: str) -> int:
        """Return the event time before which a topic's records may be processed."""
        if not self.is_on:
            return NO_LIMIT
        if topic == self._events_topic:
            return limit_of(self._shared, self.slowest(), self._grace_ms)
        return min(self.slowest(events_only=True), NO_LIMIT - 1) + 1

    def ahead_ms(self, place: Place) -> int:
        """Return how far a partition is ahead of the slowest, in ms of event time."""
        clock, slowest_ms = self._clock(place), self.slowest()
        if clock.time_ms is None or slowest_ms >= NO_LIMIT:
            return 0
        return max(clock.time_ms - slowest_ms, 0)

    def _clock(self, place: Place) -> Clock:
        reached, head = self._reached[place], self._heads.get(place)
        quiet_s = self._quiet_s[place]
        is_quiet = quiet_s is not None and time.monotonic() - quiet_s >= self._idle_s
        is_idle = head is None and is_quiet
        time_ms = reached if head is None else max(head, reached or 0)
        return Clock(time_ms, is_idle, _now_ms())


def _differs(said: Clock | None, clock: Clock, step_ms: int) -> bool:
    """Whether a clock is worth telling: it has moved, changed, or was told long ago."""
    if said is None or said.is_idle != clock.is_idle or clock.said_ms - said.said_ms >= 1_000:
        return True
    if said.time_ms is None or clock.time_ms is None:
        return said.time_ms != clock.time_ms
    return clock.time_ms - said.time_ms >= step_ms


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
