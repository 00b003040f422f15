"""One ONNX graph in ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.device import CPU, Choice
from engine.errors import BundleError
from engine.runtime import ort

logger = logging.getLogger(__name__)

#: The most events that a CPU thread is given at once. More take memory and are no faster each.
SLICE = 512


class Graph:
    """A loaded graph.

    Args:
        content: the serialized ONNX model.
        choice: where it runs. Where the GPU refuses it, it runs on the CPU, after one line in the
            log.
        threads: how many threads one run may use on the CPU.
        most: how many events each of these is given at once, at most.

    Raises:
        BundleError: ONNX Runtime cannot load the graph.
    """

    def __init__(self, content: bytes, choice: Choice, threads: int = 1, most: int = SLICE) -> None:
        self._session = _open(content, choice, threads)
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
        self.provider: str = self._session.get_providers()[0]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the graph.

        Args:
            feeds: an array for each input, all with the same first dimension. More than the
                graph has inputs for is ignored.

        Returns:
            Output name to its array.
        """
        values = self._run_sliced(feeds) if self.provider == CPU else self._run_bound(feeds)
        return dict(zip(self.outputs, values, strict=True))

    def _run_sliced(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        mine = {name: feeds[name] for name in self.inputs}
        n = len(next(iter(mine.values())))
        if n <= self._slice:
            return self._session.run(None, mine)  # type: ignore[no-any-return]
        slices = [slice(at, at + self._slice) for at in range(0, n, self._slice)]
        runs = (self._session.run(None, {k: v[each] for k, v in mine.items()}) for each in slices)
        return [np.concatenate(parts) for parts in zip(*runs, strict=True)]

    def _run_bound(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        binding = self._session.io_binding()
        for name in self.inputs:
            binding.bind_cpu_input(name, np.ascontiguousarray(feeds[name]))
        for name in self.outputs:
            binding.bind_output(name, "cuda")
        self._session.run_with_iobinding(binding)
        values: list[NDArray[Any]] = binding.copy_outputs_to_cpu()
        return values


def _open(content: bytes, choice: Choice, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if choice.on_gpu:
        ort.preload_dlls()
        try:
            session = ort.InferenceSession(content, options, providers=list(choice.providers))
        except Exception as error:  # ONNX Runtime raises many types, and the CPU can take over
            logger.warning("the GPU refuses the graph, scoring on the CPU: %s", _line(error))
        else:
            if session.get_providers()[0] != CPU:
                return session
            logger.warning(
                "the GPU cannot be used, scoring on the CPU: its CUDA libraries do not load; "
                "install riskstream[gpu]"
            )
    try:
        return ort.InferenceSession(content, options, providers=[CPU])
    except Exception as error:
        raise BundleError(
            f"a graph must be ONNX that this ONNX Runtime ({ort.__version__}) can load, however: "
            f"{_line(error)}"
        ) from None


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
