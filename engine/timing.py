"""How long a bundle's graph takes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.bundle import Bundle
from engine.device import CPU, Device, choose, count_gpus
from engine.graph import Graph
from engine.manifest import Manifest
from engine.runtime import ort

#: The batches that are timed.
BATCHES = (1, 64, 256)

#: Each batch is run at least so often, and for at least so long; the first runs are not counted.
_LEAST_RUNS, _LEAST_S, _BURN_IN = 20, 0.2, 5


@dataclass(frozen=True, slots=True)
class GraphTime:
    """What an event takes in a batch: the median of the runs, in microseconds."""

    batch: int
    us_per_event: float


def time_graph(
    bundle: Bundle,
    device: Device = Device.AUTO,
    threads: int = 1,
    batches: Sequence[int] = BATCHES,
) -> tuple[str, list[GraphTime]]:
    """Time the scoring graph on events of new accounts.

    The graph has no branch, so what the events are makes no difference.

    Args:
        bundle: the model.
        device: where it runs.
        threads: how many CPU threads one run may use.
        batches: numbers of events in a run.

    Returns:
        The provider of ONNX Runtime that ran it (of two, from which batch on the one), and the
        time of each batch.

    Raises:
        BundleError: the graph cannot be loaded.
    """
    choice = choose(device, ort.get_available_providers(), count_gpus())
    graph = Graph(bundle.model, choice, threads)
    times = [
        GraphTime(each, _median_us(graph, example_feeds(bundle.manifest, each)) / each)
        for each in batches
    ]
    is_both = graph.gpu_from is not None and graph.gpu_from > 1
    below = f" from {graph.gpu_from:,} events on, {CPU} below" if is_both else ""
    return f"{graph.provider}{below}", times


def example_feeds(manifest: Manifest, n: int) -> dict[str, NDArray[Any]]:
    """Return inputs of ``n`` events of as many new accounts."""
    fields = {
        each.name: np.arange(1, n + 1, dtype=np.float32 if each.type == "number" else np.int64)
        for each in manifest.schema.streamed
    }
    states = {
        f"state_{dtype}": np.zeros((n, size), dtype=dtype)
        for dtype, size in manifest.state.sizes.items()
    }
    shared = {
        each.input: np.zeros((n, each.buckets, len(each.quantities)), dtype=np.float32)
        for each in manifest.shared
    }
    parameters = {
        name: np.full(n, value, dtype=np.float32)
        for name, value in manifest.parameter_inputs.items()
    }
    return {**fields, **states, **shared, **parameters}


def _median_us(graph: Graph, feeds: Mapping[str, NDArray[Any]]) -> float:
    for _ in range(_BURN_IN):
        graph.run(feeds)
    times: list[float] = []
    while len(times) < _LEAST_RUNS or sum(times) < _LEAST_S:
        began_s = time.perf_counter()
        graph.run(feeds)
        times.append(time.perf_counter() - began_s)
    return float(np.median(times)) * 1e6
