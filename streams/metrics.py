"""What the worker tells Prometheus. All names begin with ``riskstream_``."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from engine.manifest import Manifest
from engine.records import DIGEST_SHOWN

_LATENCY_S = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 60.0, 600.0),
)
_STEP_S = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)

#: So few observations cost less one by one than as an array.
_FEW = 16

#: The steps of a batch, in their order.
STEPS = ("decode", "read", "score", "encode", "publish", "add", "write")


class BatchHistogram(Collector):
    """A histogram that takes a whole batch of observations at once."""

    def __init__(
        self, name: str, documentation: str, bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = np.array(bounds)
        self._few_bounds = tuple(bounds)
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self._sum = 0.0
        registry.register(self)

    def observe(self, values: NDArray[np.float64]) -> None:
        """Add observations of the shape ``[n]``."""
        if len(values) < _FEW:
            for value in values.tolist():
                self._counts[bisect_left(self._few_bounds, value)] += 1
                self._sum += value
            return
        places = self._bounds.searchsorted(values, side="left")
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._sum += float(values.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histogram as Prometheus reads it."""
        buckets = _buckets(self._bounds.tolist(), self._counts.tolist())
        yield HistogramMetricFamily(self._name, self._documentation, buckets, self._sum)


class StepHistogram(Collector):
    """A histogram for each step of a batch, for few observations of which each should cost little.

    All are made in the worker's own thread: they need no lock.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        bounds: Sequence[float],
        steps: Iterable[str],
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = tuple(bounds)
        self._counts = {step: [0] * (len(bounds) + 1) for step in steps}
        self._sums = dict.fromkeys(self._counts, 0.0)
        registry.register(self)

    def observe(self, step: str, value: float) -> None:
        """Add an observation."""
        self._counts[step][bisect_left(self._bounds, value)] += 1
        self._sums[step] += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histograms as Prometheus reads them."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=["step"])
        for step, counts in self._counts.items():
            family.add_metric([step], _buckets(self._bounds, counts), self._sums[step])
        yield family


class Timed:
    """A block whose time is observed, unless it fails."""

    __slots__ = ("_began_s", "_histogram", "_step")

    def __init__(self, histogram: StepHistogram, step: str) -> None:
        self._histogram = histogram
        self._step = step
        self._began_s = 0.0

    def __enter__(self) -> None:
        self._began_s = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._histogram.observe(self._step, time.perf_counter() - self._began_s)


class Metrics:
    """The metrics of one worker, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._count_events()
        self._measure_batches()
        self._place_partitions()
        # Of a few labels each batch has its metrics: to find one by its labels costs more than it.
        self._of_partition: dict[int, tuple[Counter, Gauge]] = {}
        self._of_decision: dict[str, Counter] = {}
        self.model = Info("riskstream_model", "The running model", registry=self.registry)

    def _count_events(self) -> None:
        counter = self._counter
        self.events = counter("events", "Events received", "partition")
        self.scores = counter("scores", "Scores published", "decision")
        self.duplicates = counter("duplicates", "Repeated events, answered as before")
        self.late = counter("late", "Events far older than their account's last")
        self.dead_letters = counter("dead_letters", "Events not scored", "reason")
        self.rekeyed = counter("rekeyed", "Events published again under their account")
        self.lost = counter(
            "lost_events",
            "Events or labels that Kafka deleted before they were processed",
            "topic",
            "partition",
        )
        self.rebuilt = counter(
            "rebuilt_events", "Events scored again to rebuild states, and not published again"
        )
        self.labels = counter("labels", "Labels by what came of them", "kind")
        self.lost_additions = counter(
            "lost_additions", "Times that a shard had lost what was added to it", "shard"
        )
        self.retries = counter("retries", "Steps tried again", "step")

    def _measure_batches(self) -> None:
        registry = self.registry
        self.batch_size = Histogram(
            "riskstream_batch_events", "Events scored together", buckets=_BATCH, registry=registry
        )
        self.latency = BatchHistogram(
            "riskstream_latency_seconds",
            "From an event's publication to its score's acknowledgement",
            _LATENCY_S,
            registry,
        )
        self.step = StepHistogram(
            "riskstream_step_seconds", "Time of each step of a batch", _STEP_S, STEPS, registry
        )

    def _place_partitions(self) -> None:
        self.lag = self._gauge("lag_events", "Events of the partition not yet scored")
        self.position = self._gauge("position", "The next offset to score")
        self.label_lag = self._gauge("lag_labels", "Labels of the partition not yet added")
        self.ahead = self._gauge(
            "ahead_seconds", "Event time that the partition is ahead of the slowest", "topic"
        )
        self.waiting = Gauge(
            "riskstream_waiting_partitions",
            "Partitions that wait for slower ones",
            registry=self.registry,
        )

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"riskstream_{name}", documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        names = [*labels, "partition"]
        return Gauge(f"riskstream_{name}", documentation, names, registry=self.registry)

    def timed(self, step: str) -> Timed:
        """Observe how long a step takes, unless it fails."""
        return Timed(self.step, step)

    def processed(self, partition: int, n: int, position: int) -> None:
        """Count events of a partition that had their effect, and say how far it is processed."""
        found = self._of_partition.get(partition)
        if found is None:
            found = self.events.labels(partition), self.position.labels(partition)
            self._of_partition[partition] = found
        found[0].inc(n)
        found[1].set(position)

    def decided(self, decision: str, n: int) -> None:
        """Count published scores."""
        found = self._of_decision.get(decision)
        if found is None:
            found = self._of_decision[decision] = self.scores.labels(decision)
        found.inc(n)

    def set_model(self, manifest: Manifest, digest: str, device: str) -> None:
        """Say which model runs, and count from nothing what it may decide."""
        for decision in manifest.decisions:
            self.scores.labels(decision)
        self.model.info(
            {
                "name": manifest.name,
                "version": manifest.version,
                "bundle": digest[:DIGEST_SHOWN],
                "family": manifest.family,
                "provider": device,
            }
        )

    def forget_partitions(self) -> None:
        """Drop the gauges of partitions that may have gone to another worker."""
        self.lag.clear()
        self.position.clear()
        self._of_partition.clear()
        self.label_lag.clear()
        self.ahead.clear()


def add_to(counter: Counter, n: int) -> None:
    """Count, where there is anything to count."""
    if n:
        counter.inc(n)


def _buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return how many observations lie at or below each bound."""
    names = [*map(str, bounds), "+Inf"]
    return list(zip(names, map(float, accumulate(counts)), strict=True))
