"""Keeping partitions together in event time where the stream runs faster than life.

A score reads closed buckets only. They are closed for good once every partition, of events and of
labels, has been read past their end. At life speed that is so by itself; in a replay, or while
catching up, one partition may be read days ahead of another. So each partition has a clock, and
none is taken further than the slowest allows (:func:`streams.clocks.limit_of`). Workers tell each
other their clocks through the state store.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from engine.shared import SharedEntity
from streams.clocks import NO_LIMIT, Clock, Place, limit_of, now_ms, slowest

#: A clock is told again after so long.
_REPEAT_MS = 500

#: What was said longer ago says nothing of the present: its worker may be dead, and records come.
_FRESH_MS = 2_000

#: Records no older than this are of the present.
_LIVE_MS = 3_600_000


class Alignment:
    """The clocks of this worker's partitions and of the others'.

    A partition that has been read to its end holds up nobody whose records are of the present.
    In a replay its records may only be on their way: it holds up the rest until it has been quiet
    for a while though records come elsewhere.

    Args:
        shared: the kinds of entity; without any, nothing is ever held back.
        events_topic: the topic of events. Labels are taken up to the slowest of its partitions,
            so that no label comes before its event.
        grace_ms: how far, in event time, a partition may be ahead of the slowest.
        idle_s: a partition that has been read to its end for so long has nothing to read.
        stale_s: another worker that has said nothing for so long holds up nobody.
        places: all partitions that there are. One that nobody has ever said anything of holds up
            the others at the start: its worker may be starting too.
    """

    def __init__(
        self,
        shared: Sequence[SharedEntity],
        events_topic: str,
        grace_ms: int,
        idle_s: float,
        stale_s: float,
        places: Iterable[Place] = (),
    ) -> None:
        self._shared = shared
        self._bucket_ms = {1000 * each.bucket_s for each in shared}
        self._events_topic = events_topic
        self._grace_ms, self._idle_ms = grace_ms, round(idle_s * 1000)
        self._stale_ms = round(stale_s * 1000)
        self._places = frozenset(places)
        #: When the others were heard last, and since when without a gap.
        self._heard_ms = self._hears_since_ms = self._busy_ms = self._active_ms = now_ms()
        self._reached: dict[Place, int | None] = {}
        self._heads: dict[Place, int] = {}
        self._quiet_ms: dict[Place, int | None] = {}
        #: What this was before the records came that have not been read yet.
        self._quiet_before_ms: dict[Place, int | None] = {}
        self._polled_ms: dict[Place, int] = {}
        self._others: dict[Place, Clock] = {}
        self._said: dict[Place, Clock] = {}
        #: Whether the others have been heard since a partition was taken or left.
        self._has_heard = False

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
        self._quiet_ms[place] = 0 if is_caught_up else None
        self._quiet_before_ms.pop(place, None)
        self._polled_ms[place] = now_ms()
        self._others.pop(place, None)
        self._has_heard = False

    def leave(self, topic: str, partitions: Container[int] | None = None) -> None:
        """Forget the clocks of a topic's partitions, of all if not said: others read them."""
        for place in list(self._reached):
            if place[0] == topic and (partitions is None or place[1] in partitions):
                del self._reached[place], self._quiet_ms[place]
                self._quiet_before_ms.pop(place, None)
                self._heads.pop(place, None)
                self._said.pop(place, None)
                self._has_heard = False

    def arrived(self, place: Place) -> None:
        """Note that records came."""
        self._quiet_before_ms.setdefault(place, self._quiet_ms.get(place))
        self._quiet_ms[place] = None
        self._note_activity()

    def read(self, place: Place, is_timed: bool) -> None:
        """Note that what came has been read.

        Args:
            place: where it came.
            is_timed: whether any of it has an event time. Records that cannot be read tell no
                time, however many come: they hold up others no more than a partition that has
                been read to its end.
        """
        quiet_ms = self._quiet_before_ms.pop(place, None)
        if not is_timed and place in self._reached:
            self._polled_ms[place] = now_ms()
            self._quiet_ms[place] = self._polled_ms[place] if quiet_ms is None else quiet_ms

    def quiet(self, place: Place, at_ms: int | None = None) -> None:
        """Note that nothing more was in a partition at a moment, by the wall clock; now if None.

        Where nobody could tell for a while, since Kafka was away, whoever publishes could not go on
        either: it is quiet from now on.
        """
        if place not in self._reached:
            return
        before_ms, at_ms = self._polled_ms[place], now_ms() if at_ms is None else at_ms
        self._polled_ms[place] = at_ms
        if self._quiet_ms[place] is None or at_ms - before_ms > _FRESH_MS:
            self._quiet_ms[place] = at_ms

    def hold(self, place: Place, head_ms: int | None) -> None:
        """Note the event time of the first record that waits; None where none does."""
        if head_ms is None:
            self._heads.pop(place, None)
        else:
            self._heads[place] = head_ms
            self._note_activity()

    def processed(self, place: Place, until_ms: int) -> None:
        """Note that records up to an event time have had their effect."""
        self._note_activity()
        reached = self._reached.get(place)
        if place in self._reached and (reached is None or until_ms > reached):
            self._reached[place] = until_ms

    def hear(self, clocks: Mapping[Place, Clock]) -> None:
        """Take in what all workers say of their partitions."""
        now = now_ms()
        if now - self._heard_ms > _FRESH_MS:
            # Nor could the others say anything meanwhile: they are no more stale than before.
            self._hears_since_ms = now
        self._heard_ms = now
        before = self._others
        # A clock of another topic is one that was read before the configuration changed.
        topics = {topic for topic, _ in self._places}
        self._others = {
            place: clock
            for place, clock in clocks.items()
            if place not in self._reached and (not topics or place[0] in topics)
        }
        self._has_heard = True
        for place, clock in self._others.items():
            known = before.get(place)
            if known is not None and clock.quiet_ms is None and clock.time_ms != known.time_ms:
                self._note_activity()

    def mine(self) -> dict[Place, Clock]:
        """Return the clocks of this worker's partitions."""
        return {place: self._clock(place) for place in self._reached}

    def news(self) -> dict[Place, Clock]:
        """Return those of this worker's clocks that others should hear of."""
        return {place: clock for place, clock in self.mine().items() if self._is_news(place, clock)}

    def is_urgent(self) -> bool:
        """Whether others should hear of this worker's clocks at once.

        Not in the present: there, a partition that goes on holds up nobody before a bucket closes,
        and that waits for far longer than others take to ask.
        """
        reached = [each for each in self._reached.values() if each is not None]
        is_live = bool(reached) and min(reached) >= now_ms() - _LIVE_MS
        return not is_live and bool(self.news())

    def told(self, news: Mapping[Place, Clock]) -> None:
        """Note that others have heard of clocks."""
        self._said |= news

    def slowest(self, events_only: bool = False, is_live: bool = False) -> int:
        """Return the event time that all partitions have reached, in ms since 1970.

        Args:
            events_only: whether only partitions of events count: for labels, none of which may
                come before its event.
            is_live: whether a partition that has been read to its end holds up no events, and
                labels only of what was published since it was polled.
        """
        clocks = self._heeded()
        if not events_only:
            return slowest(
                clock
                for clock in clocks.values()
                if not (clock.quiet_ms is not None if is_live else self._is_idle(clock))
            )
        events = [clock for place, clock in clocks.items() if place[0] == self._events_topic]
        if is_live:
            return slowest(clock.until_polled() for clock in events)
        return slowest(clock for clock in events if not self._is_idle(clock))

    def _heeded(self) -> dict[Place, Clock]:
        """Return all clocks but those of workers that have said nothing for too long."""
        # As of when they were heard last: while the store is away, nobody can say anything.
        oldest_ms = self._heard_ms - self._stale_ms
        clocks = {
            place: clock
            for place, clock in self._others.items()
            if max(clock.said_ms, self._hears_since_ms) >= oldest_ms
        } | self.mine()
        if self._hears_since_ms >= oldest_ms:
            unheard = self._places - clocks.keys()
            clocks |= dict.fromkeys(unheard, Clock(None, None, now_ms()))
        return clocks

    def limit(self, topic: str, oldest_ms: int = 0) -> int:
        """Return the event time before which a topic's records may be processed.

        Nothing is, once a partition was taken or left, until the others have been heard.

        Args:
            topic: the topic.
            oldest_ms: the event time of its earliest record that waits.
        """
        if not self.is_on:
            return NO_LIMIT
        if not self._has_heard:
            return 0
        is_live = oldest_ms >= now_ms() - _LIVE_MS
        if topic == self._events_topic:
            return limit_of(self._shared, self.slowest(is_live=is_live), self._grace_ms)
        reached = self.slowest(events_only=True, is_live=is_live)
        return min(reached, NO_LIMIT - 1) + 1

    def ahead_ms(self, place: Place) -> int:
        """Return how far a partition is ahead of the slowest, in ms of event time."""
        clock, slowest_ms = self._clock(place), self.slowest()
        if clock.time_ms is None or slowest_ms >= NO_LIMIT:
            return 0
        return max(clock.time_ms - slowest_ms, 0)

    def _clock(self, place: Place) -> Clock:
        reached, head = self._reached[place], self._heads.get(place)
        if head is not None:
            return Clock(max(head, reached or 0), None, now_ms())
        quiet_ms = self._quiet_ms[place]
        polled_ms = None if quiet_ms is None else self._polled_ms[place]
        return Clock(reached, quiet_ms, now_ms(), polled_ms)

    def _is_idle(self, clock: Clock) -> bool:
        is_fresh = now_ms() - clock.seen_ms <= max(_FRESH_MS, self._idle_ms)
        return is_fresh and clock.is_idle(self._busy_ms, self._idle_ms)

    def _is_news(self, place: Place, clock: Clock) -> bool:
        """Whether a clock is worth telling: it has moved, changed, or was told long ago."""
        said = self._said.get(place)
        if said is None or clock.said_ms - said.said_ms >= _REPEAT_MS:
            return True
        if (said.quiet_ms is None) != (clock.quiet_ms is None):
            return True
        if said.time_ms is None or clock.time_ms is None:
            return said.time_ms != clock.time_ms
        if clock.time_ms - said.time_ms >= self._grace_ms // 8:
            return True
        # Others may wait for no more than a bucket to be left.
        return any(
            said.time_ms // bucket_ms != clock.time_ms // bucket_ms for bucket_ms in self._bucket_ms
        )

    def _note_activity(self) -> None:
        """Note that records came, wait or were processed somewhere."""
        now = now_ms()
        if now - self._active_ms > self._idle_ms:
            self._busy_ms = now
        self._active_ms = now
