"""One ONNX graph in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.device import CPU, Choice
from engine.errors import BundleError, first_line
from engine.gpu import GpuGraph, crossover, open_on_gpu, seconds, tell, zeros
from engine.runtime import ort

#: The most events that a CPU thread is given at once. More take memory and are no faster each.
SLICE = 512


class Graph:
    """A loaded graph.

    Args:
        content: the serialized ONNX model.
        choice: where it runs. Where the GPU refuses it, it runs on the CPU, after one line in the
            log. Where the choice leaves it open, each batch runs where its size runs faster, which
            is measured here.
        threads: how many threads one run may use on the CPU.
        most: how many events each of these is given at once, at most.

    Raises:
        BundleError: ONNX Runtime cannot load the graph.
    """

    def __init__(self, content: bytes, choice: Choice, threads: int = 1, most: int = SLICE) -> None:
        options = _options(threads)
        self._gpu = open_on_gpu(content, choice, options) if choice.on_gpu else None
        #: Whether there is a GPU that cannot be used.
        self.is_refused = choice.on_gpu and self._gpu is None
        #: The least batch that the GPU runs; None where it runs none.
        self.gpu_from: int | None = 1 if self._gpu else None
        self._by_size = choice.by_size
        if self._gpu is None or choice.by_size:
            self._session = _on_cpu(content, options)
        else:
            self._session = self._gpu.session
        self._slice = most * max(threads, 1)
        try:
            self.inputs = tuple(each.name for each in self._session.get_inputs())
            self.outputs = tuple(each.name for each in self._session.get_outputs())
            #: For each input and output, its dimensions after the batch; a text where one is open.
            self.shapes: dict[str, list[int | str | None]] = {
                each.name: each.shape[1:]
                for each in (*self._session.get_inputs(), *self._session.get_outputs())
            }
        except UnicodeDecodeError as error:
            raise BundleError(
                f"a graph's names must be UTF-8, however: {error}; it was damaged: export it again"
            ) from None
        if self._gpu and choice.by_size:
            self.gpu_from = self._faster_from(self._gpu)
        if self.gpu_from is None:
            self._gpu = None

    @property
    def provider(self) -> str:
        """ONNX Runtime's provider that runs it; of two, the GPU's."""
        if self._gpu is None:
            return CPU
        provider: str = self._gpu.session.get_providers()[0]
        return provider

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the graph.

        Args:
            feeds: an array for each input, all with the same first dimension. More than the
                graph has inputs for is ignored.

        Returns:
            Output name to its array.
        """
        mine = {name: feeds[name] for name in self.inputs}
        n = len(next(iter(mine.values())))
        values = self._run_on_gpu(mine, n)
        if values is None:
            values = self._run_sliced(mine, n)
        return dict(zip(self.outputs, values, strict=True))

    def _run_on_gpu(
        self, feeds: Mapping[str, NDArray[Any]], n: int
    ) -> Sequence[NDArray[Any]] | None:
        """Run on the GPU what is to run there; None where the CPU is to."""
        gpu = self._gpu
        if gpu is None or self.gpu_from is None or n < self.gpu_from:
            return None
        try:
            return gpu.run(feeds)
        except Exception as error:  # of many types: its memory may be taken by somebody else
            if not self._by_size:
                raise
            tell(f"the GPU failed, scoring on the CPU from now on: {first_line(error)}")
            self._gpu = self.gpu_from = None
            return None

    def _run_sliced(self, feeds: Mapping[str, NDArray[Any]], n: int) -> Sequence[NDArray[Any]]:
        if n <= self._slice:
            return self._session.run(self.outputs, feeds)  # type: ignore[no-any-return]
        slices = [slice(at, at + self._slice) for at in range(0, n, self._slice)]
        run = self._session.run
        runs = (run(self.outputs, {k: v[each] for k, v in feeds.items()}) for each in slices)
        return [np.concatenate(parts) for parts in zip(*runs, strict=True)]

    def _faster_from(self, gpu: GpuGraph) -> int | None:
        def on_cpu(n: int) -> float:
            return seconds(partial(self._run_sliced, n=n), zeros(self._session, n))

        try:
            return crossover(on_cpu, lambda n: seconds(gpu.run, zeros(self._session, n)))
        except Exception as error:  # as above
            tell(f"the GPU cannot be measured, scoring on the CPU: {first_line(error)}")
            self.is_refused = True
            return None


def _on_cpu(content: bytes, options: ort.SessionOptions) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(content, options, providers=[CPU])
    except Exception as error:
        raise BundleError(
            f"a graph must be ONNX that this ONNX Runtime ({ort.__version__}) can load, however: "
            f"{first_line(error)}"
        ) from None


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options
