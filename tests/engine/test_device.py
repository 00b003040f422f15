from __future__ import annotations

import numpy as np
import pytest

from engine.bundle import Bundle
from engine.device import CPU, CUDA, TENSORRT, Device, choose, count_gpus
from engine.runtime import ort
from engine.scorer import Scorer
from tests.bundles import LAYOUT
from tests.engine.tools import NOW_MS, Paid, columns_of

ALL = (TENSORRT, CUDA, CPU)
NO_TENSORRT = (CUDA, CPU)
ONLY_CPU = (CPU,)


@pytest.mark.parametrize(
    ("device", "built_in", "gpus", "providers", "line"),
    [
        *(
            (Device.CPU, built_in, gpus, ONLY_CPU, "scoring on the CPU, as configured")
            for built_in in (ALL, NO_TENSORRT, ONLY_CPU)
            for gpus in (0, 1)
        ),
        *(
            (Device.AUTO, built_in, 0, ONLY_CPU, "this machine has no NVIDIA GPU")
            for built_in in (ALL, NO_TENSORRT, ONLY_CPU)
        ),
        *(
            (device, built_in, 0, ONLY_CPU, f"device = {device}, but this machine has no NVIDIA")
            for device in (Device.CUDA, Device.TENSORRT)
            for built_in in (ALL, NO_TENSORRT, ONLY_CPU)
        ),
        (Device.AUTO, ALL, 1, NO_TENSORRT, f"scoring on the GPU with {CUDA}"),
        (Device.AUTO, NO_TENSORRT, 2, NO_TENSORRT, f"scoring on the GPU with {CUDA}"),
        (Device.AUTO, ONLY_CPU, 1, ONLY_CPU, f"no {CUDA}: scoring on the CPU; install"),
        (Device.CUDA, ALL, 1, NO_TENSORRT, f"scoring on the GPU with {CUDA}"),
        (Device.CUDA, NO_TENSORRT, 1, NO_TENSORRT, f"scoring on the GPU with {CUDA}"),
        (Device.CUDA, ONLY_CPU, 1, ONLY_CPU, f"no {CUDA}: scoring on the CPU; install"),
        (Device.TENSORRT, ALL, 1, ALL, f"scoring on the GPU with {TENSORRT}"),
        (Device.TENSORRT, NO_TENSORRT, 1, NO_TENSORRT, f"scoring on the GPU with {CUDA}"),
        (Device.TENSORRT, ONLY_CPU, 1, ONLY_CPU, f"no {TENSORRT} or {CUDA}: scoring on the CPU"),
    ],
)
def test_the_best_device_that_is_there_is_chosen(
    device: Device, built_in: tuple[str, ...], gpus: int, providers: tuple[str, ...], line: str
) -> None:
    choice = choose(device, built_in, gpus)
    assert choice.providers == providers
    assert line in choice.line
    assert "\n" not in choice.line
    assert choice.on_gpu == (providers != ONLY_CPU)
    assert choice.by_size == (device is Device.AUTO and choice.on_gpu)


def test_a_gpu_that_tensorrt_cannot_use_says_so() -> None:
    assert TENSORRT in choose(Device.TENSORRT, NO_TENSORRT, 1).line


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpus_are_not_counted(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert count_gpus.__wrapped__() == 0


@pytest.mark.parametrize("device", Device)
def test_every_device_scores_on_every_machine(bundle: Bundle, device: Device) -> None:
    if count_gpus() and device is Device.TENSORRT:
        pytest.skip("building a TensorRT engine takes minutes")
    scorer = Scorer(bundle, device)
    scored = scorer.score(
        columns_of([Paid("t", "a", NOW_MS, 5.0)]), LAYOUT.zeros(1), np.zeros(1, int)
    )
    assert 0 < scored.scores[0] < 1
    assert scorer.provider in ort.get_available_providers()
