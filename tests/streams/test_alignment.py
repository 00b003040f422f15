"""How far a partition may be taken: never into buckets that others may still add to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.shared import SharedEntity
from streams import clocks as module
from streams.alignment import Alignment
from streams.clocks import NO_LIMIT, Clock, Place, limit_of, slowest
from tests.bundles import SHARED, TERMINAL

DAY_MS = 86_400_000
GRACE_MS = 3_600_000
BUCKET_MS = 1000 * TERMINAL.bucket_s
START = 20_000 * DAY_MS + DAY_MS // 2
A, B, C = ("events", 0), ("events", 1), ("events", 2)
LABELS = ("labels", 0)

KINDS = st.lists(
    st.integers(1, 1_000_000).flatmap(
        lambda bucket_s: st.builds(
            lambda grace_s: replace(TERMINAL, bucket_s=bucket_s, grace_s=grace_s),
            st.integers(0, bucket_s),
        )
    ),
    min_size=1,
    max_size=3,
)
TIMES_MS = st.integers(0, 4 * 10**12)


class Time:
    """The wall clock and the monotonic one, as a test sets them."""

    def __init__(self) -> None:
        self.s = 1_000_000.0

    def time_ns(self) -> int:
        return round(self.s * 1e9)

    def monotonic(self) -> float:
        return self.s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(module, "time", time)
    return time


Make = Callable[..., Alignment]


@pytest.fixture
def make(clock: Time) -> Make:
    def made(*own: Place, shared: tuple[SharedEntity, ...] = SHARED) -> Alignment:
        found = Alignment(shared, "events", GRACE_MS, idle_s=1.0, stale_s=60.0)
        found.hear({})
        for place in own:
            found.own(place, is_caught_up=False)
        if own:
            found.hear({})
        return found

    return made


def said(time: Time, at_ms: int | None, is_idle: bool = False) -> Clock:
    return Clock(at_ms, 0 if is_idle else None, time.time_ns() // 1_000_000)


def hear_for(alignment: Alignment, time: Time, seconds: int, clocks: dict[Place, Clock]) -> None:
    """Hear the same of the others, again and again."""
    for _ in range(seconds):
        time.s += 1
        alignment.hear(clocks)


@given(KINDS, TIMES_MS, st.integers(0, 10**9), st.integers(0, 10**10))
def test_an_event_before_the_limit_reads_nothing_that_the_slowest_may_add_to(
    kinds: list[SharedEntity], slowest_ms: int, grace_ms: int, back_ms: int
) -> None:
    limit_ms = limit_of(kinds, slowest_ms, grace_ms)
    for event_ms in {limit_ms - 1, max(limit_ms - 1 - back_ms, 0)}:
        for each in kinds:
            read = int(each.closed(np.array([event_ms]))[0])
            assert (read + 1) * each.bucket_s * 1000 <= slowest_ms or read < 0


@given(KINDS, TIMES_MS, st.integers(0, 10**9))
def test_the_slowest_itself_may_go_on_and_others_by_the_grace_at_most(
    kinds: list[SharedEntity], slowest_ms: int, grace_ms: int
) -> None:
    assert slowest_ms < limit_of(kinds, slowest_ms, grace_ms) <= slowest_ms + grace_ms + 1


@given(KINDS, TIMES_MS, st.integers(0, 10**12), st.integers(0, 10**9))
def test_the_limit_never_goes_back(
    kinds: list[SharedEntity], slowest_ms: int, more_ms: int, grace_ms: int
) -> None:
    later = limit_of(kinds, slowest_ms + more_ms, grace_ms)
    assert limit_of(kinds, slowest_ms, grace_ms) <= later


@given(st.none() | TIMES_MS, st.none() | TIMES_MS, TIMES_MS)
def test_a_clock_is_read_as_it_was_written(
    at_ms: int | None, quiet_ms: int | None, said_ms: int
) -> None:
    written = Clock(at_ms, quiet_ms, said_ms, quiet_ms)
    assert Clock.from_bytes(written.to_bytes()) == written


def test_the_slowest_of_none_is_no_limit() -> None:
    clocks = [Clock(9, None, 0), Clock(8, None, 0)]
    assert slowest(clocks) == 8
    assert slowest([*clocks, Clock(None, None, 0)]) == 0
    assert slowest([]) == NO_LIMIT


def test_a_partition_is_idle_once_it_was_quiet_while_others_were_busy() -> None:
    assert not Clock(7, None, 10_000).is_idle(busy_ms=0, idle_ms=1_000)
    assert not Clock(7, 9_500, 10_000).is_idle(busy_ms=0, idle_ms=1_000)
    assert Clock(7, 9_000, 10_000).is_idle(busy_ms=0, idle_ms=1_000)
    assert not Clock(7, 0, 10_000).is_idle(busy_ms=9_500, idle_ms=1_000)


def test_without_shared_entities_nothing_is_held(make: Make) -> None:
    alone = make(A, B, shared=())
    alone.hold(A, START)
    assert not alone.is_on
    assert alone.limit("events") == alone.limit("labels") == NO_LIMIT


def test_nothing_goes_on_before_the_others_have_been_heard(make: Make, clock: Time) -> None:
    new = make()
    new.own(A, is_caught_up=False)
    new.hold(A, START + DAY_MS)
    assert new.limit("events") <= START
    new.hear({B: said(clock, START)})
    assert new.limit("events") == START + GRACE_MS + 1
    new.own(C, is_caught_up=True)
    clock.s += 1
    new.quiet(C)
    assert new.limit("events") <= START
    new.hear({})
    assert new.limit("events") > START + DAY_MS


def test_a_partition_read_to_its_end_for_a_while_holds_nobody(make: Make, clock: Time) -> None:
    mine = make(A, B)
    mine.hold(A, START)
    assert mine.limit("events") < START
    mine.quiet(B)
    clock.s += 0.9
    assert mine.limit("events") < START
    clock.s += 0.2
    mine.quiet(B)
    assert mine.limit("events") == START + GRACE_MS + 1
    mine.arrived(B)
    assert mine.limit("events") < START


def test_what_was_quiet_because_all_were_holds_the_rest_of_a_replay_that_begins(
    make: Make, clock: Time
) -> None:
    mine = make(A)
    mine.own(B, is_caught_up=True)
    mine.hear({})
    clock.s += 100
    mine.quiet(B)
    mine.arrived(A)
    mine.hold(A, START)
    assert mine.limit("events") < START
    clock.s += 1.1
    mine.quiet(B)
    assert mine.limit("events") == START + GRACE_MS + 1


def test_one_at_its_end_holds_no_records_of_the_present(make: Make, clock: Time) -> None:
    mine = make(A)
    mine.own(B, is_caught_up=True)
    mine.hear({})
    mine.arrived(A)
    now_ms = clock.time_ns() // 1_000_000
    mine.hold(A, now_ms)
    assert mine.limit("events", oldest_ms=now_ms) > now_ms
    assert mine.limit("labels", oldest_ms=now_ms) == now_ms + 1
    mine.hear({C: said(clock, None)})
    assert mine.limit("events", oldest_ms=now_ms) < now_ms


def test_polls_that_kafka_does_not_answer_make_nobody_idle_or_stale(
    make: Make, clock: Time
) -> None:
    mine = make(A, C)
    mine.hold(A, START + DAY_MS)
    away_ms = clock.time_ns() // 1_000_000
    for _ in range(120):
        mine.quiet(C, away_ms)
        mine.hold(A, START + DAY_MS)
        mine.hear({B: Clock(START, away_ms, clock.time_ns() // 1_000_000, away_ms)})
        clock.s += 1
    assert mine.limit("events") < START
    mine.quiet(C)
    assert mine.limit("events") < START, "whoever publishes has only begun to go on"
    clock.s += 1
    mine.quiet(C)
    assert mine.limit("events") == START + GRACE_MS + 1


def test_a_label_of_the_present_waits_for_events_that_may_have_come_since_the_last_poll(
    make: Make, clock: Time
) -> None:
    mine = make()
    dead = said(clock, None, is_idle=True)
    clock.s += 9
    now_ms = clock.time_ns() // 1_000_000
    mine.hear({A: dead})
    assert mine.limit("events", oldest_ms=now_ms) > now_ms
    assert mine.limit("labels", oldest_ms=now_ms) == dead.said_ms + 1
    mine.hear({A: said(clock, None, is_idle=True)})
    assert mine.limit("labels", oldest_ms=now_ms) == now_ms + 1


@pytest.mark.parametrize("is_caught_up", [True, False])
def test_records_that_cannot_be_read_hold_up_nobody_for_ever(
    make: Make, clock: Time, is_caught_up: bool
) -> None:
    mine = make(A)
    mine.own(B, is_caught_up)
    mine.hear({})
    mine.hold(A, START)
    for _ in range(11):
        clock.s += 0.1
        mine.hold(A, START)
        mine.arrived(B)
        assert mine.limit("events") < START, "they may be of any time before they are read"
        mine.read(B, is_timed=False)
    assert mine.limit("events") == START + GRACE_MS + 1
    mine.arrived(B)
    mine.read(B, is_timed=True)
    assert mine.limit("events") < START


def test_a_partition_is_as_quiet_as_its_last_poll_found_it(make: Make, clock: Time) -> None:
    mine = make(A, B)
    mine.hold(A, START)
    mine.quiet(B)
    clock.s += 0.5
    mine.quiet(B)
    clock.s += 1.5
    assert mine.limit("events") < START
    mine.quiet(B)
    assert mine.limit("events") == START + GRACE_MS + 1


def test_records_elsewhere_make_all_workers_busy(make: Make, clock: Time) -> None:
    mine = make(A)
    mine.hear({B: said(clock, START), C: said(clock, START)})
    clock.s += 100
    mine.hear({B: said(clock, START + 1), C: said(clock, START, is_idle=True)})
    assert mine.slowest(events_only=True) == 0
    mine.hold(A, START + DAY_MS)
    assert mine.limit("events") < START + DAY_MS, "C was quiet while all were"
    for hours in (1, 48):
        clock.s += 0.6
        mine.hear({B: said(clock, START + hours * 3_600_000), C: said(clock, START, is_idle=True)})
    assert mine.limit("events") > START + DAY_MS


def test_a_head_that_waits_is_not_idle(make: Make, clock: Time) -> None:
    mine = make(A, B)
    mine.hold(A, START)
    mine.hold(B, START + DAY_MS)
    for place in (A, B):
        mine.quiet(place)
    clock.s += 100
    for place in (A, B):
        mine.quiet(place)
    assert mine.mine()[A].quiet_ms is None
    assert mine.limit("events") == START + GRACE_MS + 1
    mine.processed(A, START)
    mine.hold(A, None)
    clock.s += 1.1
    mine.quiet(A)
    assert mine.limit("events") > START + DAY_MS


def test_a_wait_of_its_own_does_not_make_a_partition_unsure_again(make: Make, clock: Time) -> None:
    mine = make(A)
    mine.own(B, is_caught_up=True)
    mine.hear({})
    for _ in range(3):
        mine.arrived(A)
        mine.hold(A, START)
        for _ in range(12):
            clock.s += 0.1
            mine.quiet(B)
            mine.hold(A, START)
        assert mine.limit("events") == START + GRACE_MS + 1, "B was quiet while A waited"
        clock.s += 0.9
        mine.quiet(B)
        mine.arrived(A)
        assert mine.limit("events") == START + GRACE_MS + 1, "and is still"


def test_other_workers_hold_until_they_are_stale(make: Make, clock: Time) -> None:
    mine = make(A)
    mine.hold(A, START + DAY_MS)
    clock.s += 3_600
    last = said(clock, START)
    for _ in range(60):
        mine.hear({B: last, C: said(clock, 1, is_idle=True)})
        assert mine.limit("events") == START + GRACE_MS + 1
        clock.s += 1
    clock.s += 1
    mine.hear({B: last, C: said(clock, 1, is_idle=True)})
    assert mine.limit("events") > START + DAY_MS


def test_nobody_is_stale_for_what_the_store_did_not_let_them_say(make: Make, clock: Time) -> None:
    mine = make(A)
    mine.hold(A, START + DAY_MS)
    last = said(clock, START)
    mine.hear({B: last})
    clock.s += 600
    assert mine.limit("events") == START + GRACE_MS + 1
    mine.hear({B: last})
    assert mine.limit("events") == START + GRACE_MS + 1
    hear_for(mine, clock, 61, {B: last})
    assert mine.limit("events") > START + DAY_MS


def test_one_that_was_idle_holds_once_its_worker_says_no_more(make: Make, clock: Time) -> None:
    # Its worker may have died, and records may have come that nobody has read.
    mine = make(A)
    mine.hear({B: said(clock, START, is_idle=True)})
    for _ in range(3):
        clock.s += 0.9
        mine.arrived(A)
        mine.hear({B: Clock(START, 0, clock.time_ns() // 1_000_000)})
    mine.processed(A, START + 10 * DAY_MS)
    mine.hold(A, START + 10 * DAY_MS)
    assert mine.limit("events") > START + 9 * DAY_MS
    clock.s += 2.1
    mine.arrived(A)
    assert mine.limit("events") < START + 2 * DAY_MS
    hear_for(mine, clock, 62, {B: Clock(START, 0, clock.time_ns() // 1_000_000 - 2_100)})
    assert mine.limit("events") > START + 9 * DAY_MS


def test_who_starts_waits_for_those_that_may_be_starting_too(make: Make, clock: Time) -> None:
    before = said(clock, START)
    clock.s += 3_600
    mine = make(A)
    mine.hold(A, START + DAY_MS)
    mine.hear({B: before})
    assert mine.limit("events") == START + GRACE_MS + 1
    hear_for(mine, clock, 61, {B: before})
    assert mine.limit("events") > START + DAY_MS


def test_a_partition_that_nobody_has_spoken_of_holds_the_others_at_the_start(
    make: Make, clock: Time
) -> None:
    mine = Alignment(SHARED, "events", GRACE_MS, idle_s=1.0, stale_s=60.0, places=[A, B, LABELS])
    mine.own(A, is_caught_up=False)
    mine.hold(A, START)
    mine.hear({})
    assert mine.limit("events") < START
    mine.hear({B: said(clock, START)})
    assert mine.limit("events") < START
    assert mine.limit("labels") == START + 1
    clock.s += 1
    mine.hear({B: said(clock, START), LABELS: said(clock, None, is_idle=True)})
    assert mine.limit("events") == START + GRACE_MS + 1
    hear_for(mine, clock, 61, {})
    assert mine.limit("events") == START + GRACE_MS + 1


def test_clocks_of_a_topic_that_is_read_no_more_hold_nobody(make: Make, clock: Time) -> None:
    mine = Alignment(SHARED, "events", GRACE_MS, idle_s=1.0, stale_s=60.0, places=[A])
    mine.own(A, is_caught_up=False)
    mine.hold(A, START)
    mine.hear({("payments", 0): said(clock, 5)})
    assert mine.limit("events") == START + GRACE_MS + 1


def test_labels_are_taken_up_to_the_slowest_partition_of_events(make: Make, clock: Time) -> None:
    mine = make(A, LABELS)
    mine.hold(A, START)
    mine.hold(LABELS, START + DAY_MS)
    mine.hear({("labels", 1): said(clock, 5)})
    assert mine.limit("labels") == START + 1
    mine.hear({B: said(clock, START - 1)})
    assert mine.limit("labels") == START
    mine.processed(A, START)
    mine.hold(A, None)
    mine.quiet(A)
    clock.s += 2
    mine.quiet(A)
    mine.hear({B: said(clock, None, is_idle=True)})
    assert mine.limit("labels") == NO_LIMIT


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5 * DAY_MS)), min_size=1, max_size=6))
def test_whatever_waits_something_may_go_on(heads: list[tuple[bool, int]]) -> None:
    mine = Alignment(SHARED, "events", GRACE_MS, idle_s=1.0, stale_s=60.0)
    places: dict[Place, int] = {}
    for at, (is_label, head_ms) in enumerate(heads):
        places["labels" if is_label else "events", at] = START + head_ms
    for place, head_ms in places.items():
        mine.own(place, is_caught_up=True)
        mine.hold(place, head_ms)
    mine.hear({})
    assert any(head_ms < mine.limit(topic) for (topic, _), head_ms in places.items())


def test_a_partition_that_leaves_holds_until_its_next_owner_is_heard(
    make: Make, clock: Time
) -> None:
    mine = make(A, B)
    mine.hold(A, START)
    mine.hold(B, START + DAY_MS)
    mine.leave("events")
    assert mine.mine() == {}
    assert mine.limit("labels") == 0
    mine.own(B, is_caught_up=False)
    mine.hold(B, START + DAY_MS)
    mine.hear({A: said(clock, START)})
    assert mine.limit("events") == START + GRACE_MS + 1
    mine.hear({A: said(clock, START + 2 * DAY_MS), B: said(clock, START)})
    assert mine.limit("events") > START + DAY_MS


def test_a_partition_that_another_owns_is_spoken_of_no_more(make: Make, clock: Time) -> None:
    mine = make(A, B)
    mine.hold(A, START)
    mine.hold(B, START + DAY_MS)
    mine.leave("events", [0])
    assert mine.mine().keys() == mine.news().keys() == {B}
    assert mine.limit("events") == 0
    mine.hear({A: said(clock, START + DAY_MS)})
    assert mine.limit("events") > START + DAY_MS


def test_clocks_are_told_when_they_have_moved_or_changed(make: Make, clock: Time) -> None:
    mine = make(A)
    assert mine.news().keys() == {A}
    mine.told(mine.news())
    assert mine.news() == {}
    mine.hold(A, START)
    mine.told(mine.news())
    mine.processed(A, START)
    mine.hold(A, START + GRACE_MS // 8 - 1)
    assert mine.news() == {}
    mine.hold(A, START + GRACE_MS // 8)
    assert mine.news()[A].time_ms == START + GRACE_MS // 8
    mine.told(mine.news())
    mine.processed(A, START + GRACE_MS // 8)
    mine.hold(A, None)
    assert mine.news() == {}
    mine.quiet(A)
    assert mine.news()[A].quiet_ms is not None
    mine.told(mine.news())
    assert mine.news() == {}
    clock.s += 1
    mine.quiet(A)
    assert mine.news().keys() == {A}


def test_clocks_are_told_once_they_have_left_a_bucket(make: Make) -> None:
    mine = make(A)
    end = (START // BUCKET_MS + 1) * BUCKET_MS
    mine.processed(A, START)
    mine.hold(A, end - 1)
    mine.told(mine.news())
    assert mine.news() == {}
    mine.hold(A, end)
    assert mine.news()[A].time_ms == end


def test_how_far_a_partition_is_ahead(make: Make) -> None:
    mine = make(A, B)
    assert mine.ahead_ms(A) == 0
    mine.hold(A, START)
    mine.hold(B, START + 5_000)
    assert (mine.ahead_ms(A), mine.ahead_ms(B)) == (0, 5_000)


def test_a_late_event_does_not_turn_a_clock_back(make: Make) -> None:
    mine = make(A)
    mine.processed(A, START)
    mine.processed(A, START - DAY_MS)
    assert mine.mine()[A].time_ms == START
    mine.hold(A, START - DAY_MS)
    assert mine.mine()[A].time_ms == START
