"""Choosing where the graph runs."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"


class Device(StrEnum):
    """Where the graph runs.

    ``auto`` gives each batch to CUDA or the CPU, whichever is faster for its size, and all to the
    CPU where there is no GPU.
    """

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"


_WANTED = {
    Device.AUTO: (CUDA, CPU),
    Device.CPU: (CPU,),
    Device.CUDA: (CUDA, CPU),
    Device.TENSORRT: (TENSORRT, CUDA, CPU),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """ONNX Runtime's providers, in their order, and one line for the log that says why.

    Args:
        providers: the first that can run the graph does.
        line: for the log.
        by_size: whether batches that the CPU scores faster stay there.
    """

    providers: tuple[str, ...]
    line: str
    by_size: bool = False

    @property
    def on_gpu(self) -> bool:
        """Whether tensors must travel to a GPU and back."""
        return self.providers[0] != CPU


def choose(device: Device, built_in: Sequence[str], gpus: int) -> Choice:
    """Choose the providers for a device.

    Args:
        device: what the configuration asks for.
        built_in: the providers this build of ONNX Runtime has.
        gpus: how many NVIDIA GPUs this machine has.

    Returns:
        The providers that can run here. The CPU is always the last of them: a device that is
        not there is a line in the log and never a failure.
    """
    wanted = _WANTED[device]
    if wanted == (CPU,):
        return Choice((CPU,), "scoring on the CPU, as configured")
    missing = [each for each in wanted[:-1] if each not in built_in]
    if gpus == 0:
        if device is Device.AUTO:
            return Choice((CPU,), "scoring on the CPU: this machine has no NVIDIA GPU")
        return Choice(
            (CPU,), f"device = {device}, but this machine has no NVIDIA GPU: scoring on the CPU"
        )
    if len(missing) == len(wanted) - 1:
        return Choice(
            (CPU,),
            f"device = {device}, but this ONNX Runtime has no {' or '.join(missing)}: scoring on "
            "the CPU; install onnxruntime-gpu instead of onnxruntime",
        )
    providers = tuple(each for each in wanted if each not in missing)
    line = f"scoring on the GPU with {providers[0]}"
    if missing:
        line = f"device = {device}, but this ONNX Runtime has no {missing[0]}: {line}"
    return Choice(providers, line, by_size=device is Device.AUTO)


@cache
def count_gpus() -> int:
    """Return how many NVIDIA GPUs the driver shows to this process."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return 0
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
