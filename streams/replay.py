"""Streaming a history into the topic: in event-time order, at life speed, faster, or flat out."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.history import Chunk, History
from engine.label_decode import Label, label_record
from engine.records import Record
from streams.publisher import Publisher, open_publisher
from streams.settings import Settings

#: Events published together at most; paced replays publish what is due every few milliseconds.
BATCH = 1_000
_TICK_S = 0.005


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is.

    Args:
        published: events published so far.
        total: events of the history.
        event_time_ms: the time of the last of them, ms since 1970.
        labels: labels published so far.
    """

    published: int
    total: int
    event_time_ms: int
    labels: int = 0


class Pace:
    """When each event of a history is due.

    Args:
        first_ms: the time of the first event, ms since 1970.
        speed: how many times faster than life; None for flat out.
        clock: seconds that only go forward.
    """

    def __init__(
        self, first_ms: int, speed: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._first_ms = first_ms
        self._speed = speed
        self._clock = clock
        self._start = clock()

    @classmethod
    def of(cls, history: History, speed: float | None) -> Self:
        """Return the pace of a history, from now on."""
        return cls(int(history.event_time_ms[0]) if len(history) else 0, speed)

    def due(self, times_ms: NDArray[np.int64]) -> int:
        """Return how many of the next events, sorted by time, are due by now."""
        if self._speed is None:
            return len(times_ms)
        elapsed_s = self._clock() - self._start
        now_ms = self._first_ms + elapsed_s * 1000 * self._speed
        return int(np.searchsorted(times_ms, now_ms, side="right"))


class Labels:
    """The labels of events, until they become known.

    Args:
        delay_ms: how long after its event a label becomes known; None for no labels.
    """

    def __init__(self, delay_ms: int | None) -> None:
        self._delay_ms = delay_ms
        self._waiting: deque[tuple[int, str, bool]] = deque()

    def reach(self, times_ms: NDArray[np.int64]) -> int:
        """Return how many of the next events lie before the first of their own labels is known.

        Published together, no more than these, every label is there in time for the event after.
        """
        if self._delay_ms is None:
            return len(times_ms)
        return max(int(np.searchsorted(times_ms, times_ms[0] + self._delay_ms, side="left")), 1)

    def add(self, chunk: Chunk, start: int, stop: int) -> None:
        """Take in the labels of events ``start`` to before ``stop``, which follow the last."""
        if self._delay_ms is None or chunk.labels is None:
            return
        for at in range(start, stop):
            event_id, label = chunk.event_ids[at], float(chunk.labels[at])
            if event_id is not None and not math.isnan(label):
                known_ms = int(chunk.event_time_ms[at]) + self._delay_ms
                self._waiting.append((known_ms, event_id, label > 0.5))

    def add_earlier(self, history: History) -> None:
        """Take in the labels of the events before a replay that become known after them."""
        for chunk in history.chunks():
            self.add(chunk, 0, len(chunk))
        end_ms = int(history.event_time_ms[-1]) if len(history) else 0
        while self._waiting and self._waiting[0][0] <= end_ms:
            self._waiting.popleft()

    def due(self, now_ms: int) -> list[Record]:
        """Return the labels that are known by now, as their topic has them; each once."""
        records = []
        while self._waiting and self._waiting[0][0] <= now_ms:
            known_ms, event_id, fraud = self._waiting.popleft()
            known_at = datetime.fromtimestamp(known_ms / 1000, UTC)
            records.append(label_record(Label(event_id, fraud, known_at, source="replay")))
        return records


async def replay(
    settings: Settings,
    history: History,
    speed: float | None,
    on_progress: Callable[[Progress], None],
    labels: Labels | None = None,
) -> int:
    """Publish a history to the transactions topic, and return the number of events.

    Each event's key is its account, so that an account's events stay in order. Labels that become
    known before the last event are published on their topic at that time.

    Args:
        settings: the configuration.
        history: the events.
        speed: how many times faster than life; None for flat out.
        on_progress: told after every batch that was acknowledged.
        labels: of earlier events, to which those of the history are added; None for none.

    Raises:
        BrokerUnavailable: Kafka is not there, or does not acknowledge.
    """
    async with open_publisher(settings) as publisher:
        pace, known = Pace.of(history, speed), labels or Labels(None)
        return await _publish(settings, history, publisher, pace, known, on_progress)


async def _publish(
    settings: Settings,
    history: History,
    publisher: Publisher,
    pace: Pace,
    labels: Labels,
    on_progress: Callable[[Progress], None],
) -> int:
    topics, total, published, labelled = settings.topics, len(history), 0, 0
    for chunk in history.chunks():
        start = 0
        while start < len(chunk):
            times_ms = chunk.event_time_ms[start:]
            stop = start + min(pace.due(times_ms), labels.reach(times_ms), BATCH)
            if stop == start:
                await asyncio.sleep(_TICK_S)
                continue
            now_ms = int(chunk.event_time_ms[stop - 1])
            labels.add(chunk, start, stop)
            known = labels.due(now_ms)
            # Labels first: whoever reads an event can read what was known by then.
            await publisher.publish({topics.labels: [(None, known)]})
            await publisher.publish({topics.transactions: [(None, _records(chunk, start, stop))]})
            published, labelled = published + stop - start, labelled + len(known)
            on_progress(Progress(published, total, now_ms, labelled))
            start = stop
    return published


async def publish_labels(settings: Settings, labels: Sequence[Label]) -> None:
    """Publish labels on their topic.

    Raises:
        BrokerUnavailable: Kafka is not there, or does not acknowledge.
    """
    records = [label_record(label) for label in labels]
    async with open_publisher(settings) as publisher:
        await publisher.publish({settings.topics.labels: [(None, records)]})


def _records(chunk: Chunk, start: int, stop: int) -> list[Record]:
    pairs = zip(chunk.keys[start:stop], chunk.values[start:stop], strict=True)
    return [Record(key, value) for key, value in pairs]
