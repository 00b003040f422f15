"""Flat out: how many events a second are scored while a backlog waits, and what each costs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaException, TopicPartition

from benchmarks.contestants import Contestant, Running
from benchmarks.machine import cpu_s, peak_mb
from benchmarks.setup import Bench

_LOOK_EVERY_S = 0.05
#: How far a score may be from the core's: other batches round otherwise.
_MOST_DIFFERENCE = 1e-5


@dataclass(frozen=True)
class Flat:
    """What one run came to.

    Args:
        events: how many were scored between the first and the last look.
        events_per_s: of these.
        cpu_us: of the contestant's processes, for each of these.
        first_score_s: from the start of the process to its first score.
        peak_mb: the most memory of the largest process.
        largest_difference: from the scores of the core; None where not compared.
        steps_us: how long each step took, by the clock, for each event scored in all.
    """

    events: int
    events_per_s: float
    cpu_us: float
    first_score_s: float
    peak_mb: float
    largest_difference: float | None = None
    steps_us: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def run_flat(
    bench: Bench,
    contestant: Contestant,
    source: str,
    n: int,
    *,
    group: str,
    partitions: int,
    limit_s: float,
    workers: int = 1,
    reference: Mapping[str, float] | None = None,
) -> Flat:
    """Have a contestant score a topic's ``n`` events, or as many as it can within a limit.

    Args:
        bench: servers and model.
        contestant: who.
        source: the topic of events.
        n: how many events it holds.
        group: names the run.
        partitions: of the topic of scores.
        limit_s: how long to measure at most.
        workers: how many processes.
        reference: the right scores of some events.

    Raises:
        RuntimeError: it ended, or its scores are others than the right ones.
        TimeoutError: it had no score in time.
    """
    scores = f"scores-{group}"
    bench.make_topic(scores, partitions)
    topic = Topic(bench.bootstrap, scores, partitions)
    began_s = time.monotonic()
    running = [contestant.start(bench, source, scores, group) for _ in range(workers)]
    try:
        first = _mark(topic, running, 1, began_s + 60)
        last = _mark(topic, running, n, first.at_s + limit_s, is_enough=True)
        largest = max(peak_mb(each.pid) for each in running)
        steps_s = running[0].steps_s() if workers == 1 else {}
        found = None if reference is None else _difference(topic, reference)
        if found is not None and found > _MOST_DIFFERENCE:
            raise RuntimeError(f"scores must be the core's, however: they differ by {found:.2g}")
    finally:
        for each in running:
            each.stop()
        topic.close()
    events = last.count - first.count
    return Flat(
        events=events,
        events_per_s=events / (last.at_s - first.at_s),
        cpu_us=(last.cpu_s - first.cpu_s) / events * 1e6,
        first_score_s=first.at_s - began_s,
        peak_mb=largest,
        largest_difference=found,
        steps_us={step: taken_s / last.count * 1e6 for step, taken_s in steps_s.items()},
    )


@dataclass(frozen=True)
class _Mark:
    """How many scores there were at a moment, and the CPU time that was taken by then."""

    count: int
    at_s: float
    cpu_s: float


def _mark(
    topic: Topic, running: list[Running], least: int, end_s: float, *, is_enough: bool = False
) -> _Mark:
    """Wait for scores; at the end of the time, be content or not with what there is."""
    while True:
        for each in running:
            each.check()
        mark = _Mark(topic.count(), time.monotonic(), sum(cpu_s(each.pid) for each in running))
        if mark.count >= least or (is_enough and mark.at_s >= end_s):
            return mark
        if mark.at_s >= end_s:
            raise TimeoutError(f"{mark.count:,} of {least:,} events scored")
        time.sleep(_LOOK_EVERY_S)


class Topic:
    """A topic of scores, looked at from outside."""

    def __init__(self, bootstrap: str, name: str, partitions: int) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "bench-reader", "log_level": 0}
        )
        self._places = [TopicPartition(name, each, 0) for each in range(partitions)]
        self._count = 0

    def count(self) -> int:
        """Return how many records it holds."""
        ask = self._consumer.get_watermark_offsets
        # A topic that has just been made may have no leader for a moment.
        with suppress(KafkaException):
            self._count = sum(ask(each, timeout=10)[1] for each in self._places)
        return self._count

    def values(self, most: int) -> list[bytes]:
        """Return the values of its first records."""
        self._consumer.assign(self._places)
        found: list[bytes] = []
        wanted = min(most, self.count())
        while len(found) < wanted:
            for message in self._consumer.consume(10_000, timeout=5):
                found.append(message.value())
        return found[:wanted]

    def close(self) -> None:
        """Give back the connection."""
        self._consumer.close()


def _difference(topic: Topic, reference: Mapping[str, float], most: int = 20_000) -> float:
    """Return the largest difference between a topic's scores and the right ones."""
    answers = [orjson.loads(each) for each in topic.values(most)]
    return max(abs(each["score"] - reference[each["event_id"]]) for each in answers)
