"""Streaming a history into the topic: in event-time order, at life speed, faster, or flat out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.history import Chunk, History
from engine.records import Record
from streams.kafka import ensure_topics, new_producer, start_client
from streams.publisher import Publisher
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
    """

    published: int
    total: int
    event_time_ms: int


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

    def due(self, times_ms: np.ndarray[tuple[int], np.dtype[np.int64]]) -> int:
        """Return how many of the next events, sorted by time, are due by now."""
        if self._speed is None:
            return len(times_ms)
        elapsed_s = self._clock() - self._start
        now_ms = self._first_ms + elapsed_s * 1000 * self._speed
        return int(np.searchsorted(times_ms, now_ms, side="right"))


async def replay(
    settings: Settings,
    history: History,
    speed: float | None,
    on_progress: Callable[[Progress], None],
) -> int:
    """Publish a history to the transactions topic, and return the number of events.

    Each event's key is its account, so that an account's events stay in order.

    Args:
        settings: the configuration.
        history: the events.
        speed: how many times faster than life; None for flat out.
        on_progress: told after every batch that was acknowledged.

    Raises:
        BrokerUnavailable: Kafka is not there, or does not acknowledge.
    """
    partitions = await ensure_topics(settings)
    producer = new_producer(settings.broker)
    try:
        await start_client(producer, settings.broker)
        publisher = Publisher(producer, settings.broker, partitions)
        return await _publish(settings, history, publisher, speed, on_progress)
    finally:
        await producer.stop()


async def _publish(
    settings: Settings,
    history: History,
    publisher: Publisher,
    speed: float | None,
    on_progress: Callable[[Progress], None],
) -> int:
    total, published = len(history), 0
    if not total:
        return 0
    pace = Pace(int(history.event_time_ms[0]), speed)
    for chunk in history.chunks():
        start = 0
        while start < len(chunk):
            stop = min(start + pace.due(chunk.event_time_ms[start:]), start + BATCH)
            if stop == start:
                await asyncio.sleep(_TICK_S)
                continue
            records = _records(chunk, start, stop)
            await publisher.publish({settings.topics.transactions: [(None, records)]})
            published += stop - start
            on_progress(Progress(published, total, int(chunk.event_time_ms[stop - 1])))
            start = stop
    return published


def _records(chunk: Chunk, start: int, stop: int) -> list[Record]:
    pairs = zip(chunk.keys[start:stop], chunk.values[start:stop], strict=True)
    return [Record(key, value) for key, value in pairs]
