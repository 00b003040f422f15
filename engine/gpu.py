"""A graph on a GPU.

A scorer's graph has hundreds of small nodes, and to start a node costs more than to compute it. So
a graph is recorded once for each size of batch (a CUDA graph) and started as a whole from then on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.device import CPU, CUDA, Choice
from engine.errors import first_line
from engine.runtime import ort

logger = logging.getLogger(__name__)

#: Held by whoever uses a GPU: while a graph is recorded, nothing else may ask CUDA for anything,
#: and a recording's memory on the GPU is one batch's at a time.
_LOCK = Lock()

#: The sizes of batch that are recorded. A batch is filled up to the next of them.
SIZES = tuple(1 << power for power in range(4, 14))

_DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}

#: Matrix products in full float32: TF32 would keep ten bits of each factor.
_PRECISE = {"use_tf32": "0"}
_RECORDED = {**_PRECISE, "enable_cuda_graph": "1"}

#: A size is timed so often; the fastest run counts.
_RUNS = 5


class GpuGraph(Protocol):
    """A graph that a GPU runs."""

    session: ort.InferenceSession

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Return the outputs; of the feeds, the graph's own inputs are taken."""


def open_on_gpu(content: bytes, choice: Choice, options: ort.SessionOptions) -> GpuGraph | None:
    """Open a graph on the GPU, or return None after one line in the log that says why not.

    Args:
        content: the serialized ONNX model.
        choice: the providers, a GPU's first.
        options: of the session.
    """
    ort.preload_dlls()
    try:
        graph = _open(content, choice, options)
    except Exception as error:  # ONNX Runtime raises many types, and the CPU can take over
        tell(f"the GPU refuses the graph, scoring on the CPU: {first_line(error)}")
        return None
    if graph is None:
        tell(
            "the GPU cannot be used, scoring on the CPU: its CUDA libraries do not load; "
            "install riskstream[gpu]"
        )
    return graph


@cache
def tell(line: str) -> None:
    """Warn, once in a process: a bundle has two graphs, and both meet the same."""
    logger.warning("%s", line)


def _open(content: bytes, choice: Choice, options: ort.SessionOptions) -> GpuGraph | None:
    def session(of_cuda: Mapping[str, str]) -> ort.InferenceSession:
        each_options = [of_cuda if each == CUDA else {} for each in choice.providers]
        providers = list(choice.providers)
        return ort.InferenceSession(content, options, providers, each_options)

    plain = session(_PRECISE)
    if plain.get_providers()[0] == CPU:
        return None
    if plain.get_providers()[0] == CUDA:
        try:
            return RecordedGraph(session(_RECORDED))
        except Exception as error:  # the same graph can do without
            tell(f"the GPU cannot record the graph and starts each node: {first_line(error)}")
    return BoundGraph(plain)


class BoundGraph:
    """A graph whose nodes are started one by one; its outputs stay on the GPU until all ran."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self.session = session
        self._inputs = [each.name for each in session.get_inputs()]
        self._outputs = [each.name for each in session.get_outputs()]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """See `GpuGraph.run`."""
        binding = self.session.io_binding()
        for name in self._inputs:
            binding.bind_cpu_input(name, np.ascontiguousarray(feeds[name]))
        for name in self._outputs:
            binding.bind_output(name, "cuda")
        with _LOCK:
            self.session.run_with_iobinding(binding)
            values: list[NDArray[Any]] = binding.copy_outputs_to_cpu()
        return values


class RecordedGraph:
    """A graph that is recorded when a size of batch first comes, and replayed from then on.

    CUDA keeps recordings by thread: another thread that uses it records it again, once.

    Its rows must not depend on each other: a batch shares its run with what is left of others.
    """

    def __init__(self, session: ort.InferenceSession) -> None:
        self.session = session
        self._recordings: dict[int, _Recording] = {}
        with _LOCK:
            self._recorded(SIZES[0])

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """See `GpuGraph.run`."""
        n, most = len(next(iter(feeds.values()))), SIZES[-1]
        if n <= most:
            return self._replay(feeds, n)
        parts = [
            self._replay({name: each[at : at + most] for name, each in feeds.items()}, most)
            for at in range(0, n - most, most)
        ]
        rest = (n - 1) % most + 1
        parts.append(self._replay({name: each[-rest:] for name, each in feeds.items()}, rest))
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    def _replay(self, feeds: Mapping[str, NDArray[Any]], n: int) -> list[NDArray[Any]]:
        size = next(each for each in SIZES if each >= n)
        with _LOCK:
            return self._recorded(size).replay(feeds, n)

    def _recorded(self, size: int) -> _Recording:
        if size not in self._recordings:
            self._recordings[size] = _Recording(self.session, size)
        return self._recordings[size]


class _Recording:
    """One size's: its arrays on both sides, and the recorded graph between them."""

    def __init__(self, session: ort.InferenceSession, size: int) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._options = ort.RunOptions()
        self._options.add_run_config_entry("gpu_graph_id", str(size))
        self._host = zeros(session, size)
        self._inputs = {
            name: ort.OrtValue.ortvalue_from_numpy(each, "cuda", 0)
            for name, each in self._host.items()
        }
        self._outputs = {
            each.name: ort.OrtValue.ortvalue_from_shape_and_type(
                [size, *each.shape[1:]], _DTYPES[each.type], "cuda", 0
            )
            for each in session.get_outputs()
        }
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)
        session.run_with_iobinding(self._binding, self._options)

    def replay(self, feeds: Mapping[str, NDArray[Any]], n: int) -> list[NDArray[Any]]:
        for name, value in self._inputs.items():
            host = self._host[name]
            host[:n] = feeds[name]
            value.update_inplace(host)
        self._session.run_with_iobinding(self._binding, self._options)
        return [value.numpy()[:n] for value in self._outputs.values()]


def zeros(session: ort.InferenceSession, n: int) -> dict[str, NDArray[Any]]:
    """Return inputs of ``n`` events, all zero.

    Raises:
        KeyError: an input of the graph is of a data type that scorers have not.
    """
    return {
        each.name: np.zeros((n, *each.shape[1:]), dtype=_DTYPES[each.type])
        for each in session.get_inputs()
    }


Run = Callable[[Mapping[str, NDArray[Any]]], object]


def crossover(cpu: Callable[[int], float], gpu: Callable[[int], float]) -> int | None:
    """Return the batch from which on the GPU is faster, or None where it never is.

    Args:
        cpu: the seconds that the CPU takes for a batch of a size.
        gpu: likewise, the GPU.

    Returns:
        The least of :data:`SIZES` at which the GPU wins and goes on to win at the next.
    """
    first: int | None = None
    for size in SIZES:
        if gpu(size) >= cpu(size):
            first = None
        elif first is not None:
            return first
        else:
            first = size
    return first


def seconds(run: Run, feeds: Mapping[str, NDArray[Any]]) -> float:
    """Return how long a run takes: the fastest of some, after one that does not count."""
    run(feeds)
    times = []
    for _ in range(_RUNS):
        began_s = time.perf_counter()
        run(feeds)
        times.append(time.perf_counter() - began_s)
    return min(times)
