"""What the worker tells Prometheus. All names begin with ``riskstream_``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self._sum = 0.0
        registry.register(self)

    def observe(self, values: NDArray[np.float64]) -> None:
        """Add observations of the shape ``[n]``."""
        places = np.searchsorted(self._bounds, values, side="left")
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._sum += float(values.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histogram as Prometheus reads it."""
        bounds = [*(str(bound) for bound in self._bounds), "+Inf"]
        counts = np.cumsum(self._counts).tolist()
        buckets = list(zip(bounds, counts, strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets, self._sum)


class Metrics:
    """The metrics of one worker, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.events = Counter(
            "riskstream_events", "Events received", ["partition"], registry=registry
        )
        self.scores = Counter(
            "riskstream_scores", "Scores published", ["decision"], registry=registry
        )
        self.duplicates = Counter(
            "riskstream_duplicates", "Repeated events, answered as before", registry=registry
        )
        self.late = Counter(
            "riskstream_late", "Events far older than their account's last", registry=registry
        )
        self.dead_letters = Counter(
            "riskstream_dead_letters", "Events not scored", ["reason"], registry=registry
        )
        self.lost = Counter(
            "riskstream_lost_events",
            "Events that Kafka deleted before they were scored",
            ["partition"],
            registry=registry,
        )
        self.rekeyed = Counter(
            "riskstream_rekeyed", "Events published again under their account", registry=registry
        )
        self.batch_size = Histogram(
            "riskstream_batch_events", "Events scored together", buckets=_BATCH, registry=registry
        )
        self.latency = BatchHistogram(
            "riskstream_latency_seconds",
            "From an event's publication to its score's acknowledgement",
            _LATENCY_S,
            registry,
        )
        self.step = Histogram(
            "riskstream_step_seconds",
            "Time of each step of a batch",
            ["step"],
            buckets=_STEP_S,
            registry=registry,
        )
        self.lag = Gauge(
            "riskstream_lag_events",
            "Events of the partition not yet scored",
            ["partition"],
            registry=registry,
        )
        self.position = Gauge(
            "riskstream_position", "The next offset to score", ["partition"], registry=registry
        )
        self.labels = Counter(
            "riskstream_labels", "Labels by what came of them", ["kind"], registry=registry
        )
        self.lost_additions = Counter(
            "riskstream_lost_additions",
            "Times that a shard was found to have lost what was added to it",
            ["shard"],
            registry=registry,
        )
        self.ahead = Gauge(
            "riskstream_ahead_seconds",
            "How far the partition is ahead of the slowest, in event time",
            ["topic", "partition"],
            registry=registry,
        )
        self.waiting = Gauge(
            "riskstream_waiting_partitions",
            "Partitions that wait for slower ones",
            registry=registry,
        )
        self.retries = Counter(
            "riskstream_retries", "Steps tried again", ["step"], registry=registry
        )
        self.model = Info("riskstream_model", "The running model", registry=registry)
        for step in STEPS:
            self.step.labels(step)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Observe how long a step takes."""
        start = time.perf_counter()
        yield
        self.step.labels(step).observe(time.perf_counter() - start)

    def set_model(self, manifest: Manifest, digest: str, device: str) -> None:
        """Say which model runs."""
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
        self.ahead.clear()
        self.position.clear()
