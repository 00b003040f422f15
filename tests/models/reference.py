"""Every feature again, in plain Python over an account's whole list of events, one at a time.

The arithmetic is float64 but for what the graph's own precision decides (codes of counterparties).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

RING = 16
DAY_MS = 86_400_000
HOUR_MS = 3_600_000


@dataclass
class Event:
    event_id: int
    time_ms: int
    amount: float
    terminal: int


@dataclass
class Known:
    """What is known of an account: the accepted events, in the order they arrived."""

    events: list[Event] = field(default_factory=list)
    last_ms: int = 0
    buckets: dict[int, list[float]] = field(default_factory=dict)
    usual: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    amount_mean: float = 0.0
    pressure: list[float] = field(default_factory=lambda: [0.0, 0.0])
    maxima: dict[int, float] = field(default_factory=dict)
    slots: dict[int, np.float32] = field(default_factory=dict)
    unusual: dict[int, list[tuple[float, float]]] = field(default_factory=dict)

    @property
    def ring(self) -> list[Event]:
        return self.events[: -RING - 1 : -1]

    def now_ms(self, event: Event) -> int:
        return max(event.time_ms, self.last_ms)


def is_repeat(known: Known, event: Event) -> bool:
    return any(each.event_id == event.event_id for each in known.ring)


def is_late(known: Known, event: Event, late_after_s: float) -> bool:
    return bool(known.events) and known.last_ms - event.time_ms > late_after_s * 1000


def amount(known: Known, event: Event, limits: tuple[float, ...]) -> list[float]:
    usual = known.amount_mean if known.events else event.amount
    flags = [float(event.amount > limit) for limit in limits]
    return [event.amount, event.amount / max(usual, 0.01), *flags]


def clock(event: Event, night_until: float) -> list[float]:
    in_day = event.time_ms % DAY_MS
    in_week = (event.time_ms + 3 * DAY_MS) % (7 * DAY_MS)
    day, week = 2 * math.pi * in_day / DAY_MS, 2 * math.pi * in_week / (7 * DAY_MS)
    night, weekend = in_day < night_until * HOUR_MS, in_week >= 5 * DAY_MS
    return [math.sin(day), math.sin(week), math.cos(day), math.cos(week), night, weekend]


def recency(known: Known, event: Event) -> list[float]:
    gap_ms = known.now_ms(event) - known.last_ms if known.events else 0
    return [gap_ms / 1000, float(not known.events), len(known.events)]


def windows(known: Known, event: Event, hours: tuple[float, ...]) -> list[float]:
    now_ms = known.now_ms(event)
    counts, sums = [], []
    for hour in hours:
        inside = [each for each in known.ring if now_ms - each.time_ms < hour * HOUR_MS]
        count, total = float(len(inside)), sum(each.amount for each in inside)
        if len(inside) == RING:
            coarse = from_buckets(known, now_ms, hour)
            count, total = max(count, coarse[0]), max(total, coarse[1])
        counts.append(count)
        sums.append(total)
    means = [total / max(count, 1.0) for count, total in zip(counts, sums, strict=True)]
    return [*counts, *sums, *means]


def from_buckets(known: Known, now_ms: int, hours: float) -> tuple[float, float]:
    """Count and sum from the daily buckets, the day that the window cuts in proportion."""
    if hours < 24:
        return 0.0, 0.0
    today, days = now_ms // DAY_MS, hours / 24
    count = total = 0.0
    for day, (number, amounts) in known.buckets.items():
        if today - day < 32:
            begun = (now_ms - day * DAY_MS) / DAY_MS
            share = min(max(days + 1 - begun, 0.0), 1.0)
            count, total = count + share * number, total + share * amounts
    return count, total


def maxima(known: Known, event: Event, hours: tuple[float, ...]) -> list[float]:
    now_ms, found = known.now_ms(event), []
    for hour in hours:
        inside = [each.amount for each in known.ring if now_ms - each.time_ms < hour * HOUR_MS]
        largest = max(inside, default=0.0)
        if len(inside) == RING and hour >= 24:
            today, first = now_ms // DAY_MS, now_ms - hour * HOUR_MS
            days = {d: v for d, v in known.maxima.items() if today - d < 32}
            cut = [value for day, value in days.items() if (day + 1) * DAY_MS > first]
            largest = max(largest, *cut)
        found.append(largest)
    return found


def counterparties(known: Known, event: Event, hours: tuple[float, ...], slots: int) -> list[float]:
    now_ms, found = known.now_ms(event), []
    ages = {slot: in_days(now_ms) - last for slot, last in known.slots.items()}
    for hour in hours:
        inside = [each for each in known.ring if now_ms - each.time_ms < hour * HOUR_MS]
        number = float(len({np.float32(each.terminal) for each in inside}))
        if len(inside) == RING:
            used = sum(age < hour / 24 for age in ages.values())
            number = max(number, -slots * math.log(max(slots - used, 0.5) / slots))
        found.append(number)
    return [*found, min(float(ages.get(event.terminal % slots, 60.0)), 60.0)]


def in_days(time_ms: int) -> np.float32:
    """Return a time as the slots hold it: float32 days, some three minutes apart."""
    return np.float32(time_ms) * np.float32(1 / DAY_MS)


def combinations(
    known: Known, event: Event, band_h: float, amounts: tuple[float, ...]
) -> list[float]:
    def hours(each: Event) -> int:
        return int(each.time_ms % DAY_MS // (band_h * HOUR_MS))

    def level(each: Event) -> int:
        return sum(each.amount >= cut for cut in amounts)

    def here(each: Event) -> np.float32:
        return np.float32(each.terminal)

    ring, most = known.ring, max(len(known.ring), 1)
    same_hours = [hours(each) == hours(event) for each in ring]
    same_level = [level(each) == level(event) for each in ring]
    same_place = [here(each) == here(event) for each in ring]
    pairs = ((same_place, same_hours), (same_place, same_level), (same_hours, same_level))
    new = [float(not any(map(all, zip(*pair, strict=True)))) for pair in pairs]
    return [sum(same_hours) / most, sum(same_level) / most, *new]


def novelty(known: Known, event: Event) -> list[float]:
    code = np.float32(event.terminal)
    same = sum(np.float32(each.terminal) == code for each in known.ring)
    return [float(same == 0), same / max(len(known.ring), 1)]


def spread(
    known: Known, event: Event, high: tuple[tuple[float, float], ...], decays: tuple[float, ...]
) -> list[float]:
    rm, rs = usual(known)
    now_ms = known.now_ms(event)
    past = [(now_ms - each.time_ms, each.amount) for each in known.ring]
    recent = [value for age, value in past if age < 14 * DAY_MS]
    counts = [
        sum(value / rm > ratio and age < days * DAY_MS for age, value in past)
        for ratio, days in high
    ]
    since = [age / DAY_MS for age, value in past if value / rm > high[0][0]]
    gap_s = recency(known, event)[0]
    decayed = [
        held * math.exp(-gap_s / (days * 86_400))
        for held, days in zip(known.pressure, decays, strict=True)
    ]
    return [
        event.amount / rm,
        (event.amount - rm) / rs,
        llr(event.amount, rm, rs),
        rm,
        *counts,
        max((value / rm for value in recent), default=0.0),
        sum(max(llr(value, rm, rs), 0.0) for value in recent),
        min([60.0, *since]),
        *decayed,
    ]


def unusual_days(
    known: Known, event: Event, days: tuple[float, ...], high: float, share: float, a_day: float
) -> list[float]:
    """Of the ratios and llr of each day's events, the day that a window cuts in proportion."""
    now_ms = known.now_ms(event)
    begun = {day: (now_ms - day * DAY_MS) / DAY_MS for day in known.unusual}
    counts, sums, largest = [], [], []
    for window in days:
        count = total = most = 0.0
        for day, events in known.unusual.items():
            part = min(max(window + 1 - begun[day], 0.0), 1.0)
            count += part * sum(ratio > high for ratio, _ in events)
            total += part * sum(max(each, 0.0) for _, each in events)
            most = max([most, *(ratio for ratio, _ in events)]) if part > 0 else most
        counts, sums, largest = [*counts, count], [*sums, total], [*largest, most]
    odds = 0.0
    for age in range(1, math.ceil(min(days)) + 1):
        since = [day for day in known.unusual if begun[day] < age]
        events = [each for day in since for _, each in known.unusual[day]]
        shift = sum(math.log(1 - share + share * math.exp(each)) for each in events)
        odds += a_day * math.exp(min(max(shift, -40.0), 40.0))
    return [*counts, *sums, *largest, math.log(odds)]


def usual(known: Known) -> tuple[float, float]:
    n, mean, square = known.usual
    rm = (n * mean + 2 * 40.0) / (n + 2)
    return rm, math.sqrt((n * square + 2 * (0.6 * rm) ** 2) / (n + 2))


def llr(value: float, rm: float, rs: float) -> float:
    """Of five times too large against ordinary, by the densities of the normal law."""

    def log_density(mean: float, sd: float) -> float:
        return -(((value - mean) / sd) ** 2) / 2 - math.log(sd)

    return min(max(log_density(5 * rm, 5 * rs) - log_density(rm, rs), -6.0), 12.0)


def accept(known: Known, event: Event, decays: tuple[float, ...], slots: int) -> None:
    """Let an account know an event that is no repeat."""
    rm, rs = usual(known)
    gap_s = recency(known, event)[0]
    known.pressure = [
        held * math.exp(-gap_s / (days * 86_400)) + max(llr(event.amount, rm, rs), 0.0)
        for held, days in zip(known.pressure, decays, strict=True)
    ]
    if event.amount <= 3 * rm:
        n, mean, square = known.usual
        n = min(n + 1, 256)
        away = (event.amount - rm) ** 2
        known.usual = [n, mean + (event.amount - mean) / n, square + (away - square) / n]
    share = min(len(known.events) + 1, 512)
    known.amount_mean += (event.amount - known.amount_mean) / share
    day, today = event.time_ms // DAY_MS, known.now_ms(event) // DAY_MS
    if today - day < 32:
        bucket = known.buckets.setdefault(day, [0.0, 0.0])
        bucket[0], bucket[1] = bucket[0] + 1, bucket[1] + event.amount
        known.maxima[day] = max(known.maxima.get(day, 0.0), event.amount)
        found = (event.amount / rm, llr(event.amount, rm, rs))
        known.unusual.setdefault(day, []).append(found)
    known.slots[event.terminal % slots] = in_days(known.now_ms(event))
    known.last_ms = known.now_ms(event)
    known.events.append(event)
