"""Graphs on a GPU: the same scores as on the CPU, and nothing that goes back to the host."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.bundle import Bundle
from engine.device import CPU, CUDA, Device, choose, count_gpus
from engine.gpu import SIZES, crossover
from engine.graph import Graph
from engine.runtime import ort
from engine.scorer import Scorer
from engine.timing import example_feeds
from engine.waves import index_accounts
from export.placement import placement
from models.packs.registry import pack_folder
from tests.bundles import LAYOUT
from tests.engine.tools import NOW_MS, Paid, columns_of

on_gpu = pytest.mark.skipif(count_gpus() == 0, reason="this machine has no NVIDIA GPU")


@pytest.mark.parametrize(
    ("cpu_us", "gpu_us", "found"),
    [
        pytest.param(lambda n: n, lambda _: 100.0, 128, id="the CPU takes longer with each event"),
        pytest.param(lambda n: n, lambda n: 2 * n, None, id="the GPU is always slower"),
        pytest.param(lambda n: n, lambda n: n / 2, SIZES[0], id="the GPU is always faster"),
        pytest.param(
            lambda n: n, lambda n: 1.0 if n in (32, 512, 1024) else 1e9, 512, id="one chance win"
        ),
        pytest.param(lambda n: n, lambda n: n if n < SIZES[-1] else 0, SIZES[-1], id="the last"),
    ],
)
def test_the_gpu_takes_over_where_it_wins_and_goes_on_to(
    cpu_us: Any, gpu_us: Any, found: int | None
) -> None:
    assert crossover(cpu_us, gpu_us) == found


def fed(bundle: Bundle, n: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return events of accounts that have some history, ``n`` of them."""
    rng = np.random.default_rng(seed)
    feeds = example_feeds(bundle.manifest, n)
    for name, each in feeds.items():
        if each.dtype == np.float32:
            feeds[name] = rng.lognormal(0, 1, each.shape).astype(np.float32)
    return feeds


def graph_on(device: Device, content: bytes) -> Graph:
    return Graph(content, choose(device, ort.get_available_providers(), count_gpus()))


def assert_same(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> None:
    for name, expected in one.items():
        if expected.dtype == np.float32:
            np.testing.assert_allclose(other[name], expected, rtol=2e-4, atol=2e-4, err_msg=name)
        else:
            np.testing.assert_array_equal(other[name], expected, err_msg=name)
    if "score" in one:
        np.testing.assert_allclose(other["score"], one["score"], atol=1e-5)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("file", ["model", "reasons"])
@pytest.mark.parametrize("pack", ["fraud", "credit", "market"])
def test_a_shipped_graph_is_recorded_and_says_what_the_cpu_does(
    pack: str, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = Bundle.load(pack_folder(pack) / "bundle")
    content: bytes = getattr(bundle, file)
    with caplog.at_level(logging.WARNING):
        cpu, gpu = graph_on(Device.CPU, content), graph_on(Device.CUDA, content)
    assert not caplog.messages
    assert gpu.provider == CUDA
    for n in (1, 16, 17, 700, 3, SIZES[-1], SIZES[-1] + 5, 2 * SIZES[-1]):
        feeds = fed(bundle, n, seed=n)
        assert_same(cpu.run(feeds), gpu.run(feeds))


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("pack", ["fraud", "credit", "market"])
def test_no_node_of_a_shipped_graph_runs_on_the_host(pack: str) -> None:
    bundle = Bundle.load(pack_folder(pack) / "bundle")
    choice = choose(Device.CUDA, ort.get_available_providers(), count_gpus())
    for content in (bundle.model, bundle.reasons):
        found = placement(content, choice, fed(bundle, 64))
        assert found.by_provider.keys() == {CUDA}
        assert (found.on_cpu, found.copies) == ((), ())


@pytest.mark.gpu
@on_gpu
def test_runs_side_by_side_keep_their_events_apart() -> None:
    bundle = Bundle.load(pack_folder("fraud") / "bundle")
    cpu, gpu = (graph_on(each, bundle.model) for each in (Device.CPU, Device.CUDA))
    batches = [fed(bundle, 20 + seed % 3, seed) for seed in range(200)]
    with ThreadPoolExecutor(4) as pool:
        for feeds, found in zip(batches, pool.map(gpu.run, batches), strict=True):
            assert_same(cpu.run(feeds), found)


@pytest.mark.gpu
@on_gpu
def test_a_batch_goes_where_its_size_runs_faster() -> None:
    bundle = Bundle.load(pack_folder("fraud") / "bundle")
    scorer = Scorer(bundle, Device.AUTO)
    cpu, auto = (graph_on(each, bundle.model) for each in (Device.CPU, Device.AUTO))
    assert auto.provider == CUDA
    assert auto.gpu_from in SIZES
    assert "events at once on, fewer on the CPU" in scorer.device_line
    few, many = fed(bundle, 1), fed(bundle, 4096)
    for name, expected in cpu.run(few).items():
        np.testing.assert_array_equal(auto.run(few)[name], expected)
    assert_same(cpu.run(many), auto.run(many))


@pytest.mark.gpu
@on_gpu
def test_the_gpu_scores_as_the_cpu_does(bundle: Bundle) -> None:
    rng = np.random.default_rng(0)
    events = [
        Paid(f"t{rng.integers(400)}", f"a{rng.integers(50)}", NOW_MS - at, float(amount))
        for at, amount in enumerate(rng.lognormal(4, 2, 500))
    ]
    columns = columns_of(events)
    accounts, index = index_accounts(columns.accounts)
    cpu, gpu = Scorer(bundle, Device.CPU), Scorer(bundle, Device.CUDA)
    assert (cpu.provider, gpu.provider) == (CPU, CUDA), gpu.device_line
    one, other = (each.score(columns, LAYOUT.zeros(len(accounts)), index) for each in (cpu, gpu))
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    np.testing.assert_array_equal(one.duplicate, other.duplicate)
    np.testing.assert_array_equal(one.states["int64"], other.states["int64"])
    np.testing.assert_allclose(one.states["float32"], other.states["float32"], rtol=1e-5, atol=1e-5)
    assert one.reasons.keys() == other.reasons.keys()
