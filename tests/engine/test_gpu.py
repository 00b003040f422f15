"""Graphs on a GPU: the same scores as on the CPU, and nothing that goes back to the host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import engine.graph as graphs
from engine.bundle import Bundle
from engine.device import CPU, CUDA, Device, choose, count_gpus
from engine.gpu import SIZES, crossover, tell
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


class FakeGpu:
    """A GPU that answers as the CPU does, a million times as fast, or raises."""

    def __init__(self, content: bytes, fails_from: int = 1 << 30) -> None:
        self.session = ort.InferenceSession(content, providers=[CPU])
        self.fails_from = fails_from
        self.sizes: list[int] = []

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        n = len(next(iter(feeds.values())))
        self.sizes.append(n)
        if n >= self.fails_from:
            raise RuntimeError("CUDA out of memory")
        if any(each.any() for each in feeds.values()):
            return self.session.run(None, dict(feeds))  # type: ignore[no-any-return]
        return []  # a measurement, whose feeds are zero


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> Callable[..., tuple[Graph, FakeGpu]]:
    """Opens the scoring graph beside a fake GPU."""
    tell.cache_clear()

    def opened(device: Device = Device.AUTO, **how: Any) -> tuple[Graph, FakeGpu]:
        gpu = FakeGpu(bundle.model, **how)
        monkeypatch.setattr(graphs, "open_on_gpu", lambda *_: gpu)
        return Graph(bundle.model, choose(device, (CUDA, CPU), 1)), gpu

    return opened


def test_a_small_batch_stays_on_the_cpu_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, fake: Callable[..., tuple[Graph, FakeGpu]], bundle: Bundle
) -> None:
    monkeypatch.setattr(graphs, "crossover", lambda *_: 64)
    auto, gpu = fake()
    gpu.sizes.clear()
    alone = graph_on(Device.CPU, bundle.model)
    for n in (1, 63, 64, 200):
        assert_same(alone.run(fed(bundle, n)), auto.run(fed(bundle, n)))
    assert gpu.sizes == [64, 200]
    assert auto.gpu_from == 64


def test_a_gpu_that_fails_leaves_the_batch_to_the_cpu_and_is_not_asked_again(
    fake: Callable[..., tuple[Graph, FakeGpu]], bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    auto, gpu = fake()
    assert auto.gpu_from == SIZES[0]
    gpu.sizes.clear()
    gpu.fails_from = 100
    alone = graph_on(Device.CPU, bundle.model)
    for n in (50, 100, 50):
        assert_same(alone.run(fed(bundle, n)), auto.run(fed(bundle, n)))
    assert gpu.sizes == [50, 100]
    assert auto.provider == CPU
    (line,) = caplog.messages
    assert "scoring on the CPU from now on: CUDA out of memory" in line


def test_a_gpu_that_was_asked_for_by_name_fails_aloud(
    fake: Callable[..., tuple[Graph, FakeGpu]], bundle: Bundle
) -> None:
    cuda, gpu = fake(Device.CUDA)
    assert gpu.sizes == []
    gpu.fails_from = 1
    with pytest.raises(RuntimeError, match="out of memory"):
        cuda.run(fed(bundle, 3))


def test_a_gpu_that_cannot_be_measured_is_left_alone(
    fake: Callable[..., tuple[Graph, FakeGpu]], bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    auto, _ = fake(fails_from=1)
    assert auto.is_refused
    assert (auto.gpu_from, auto.provider) == (None, CPU)
    assert_same(graph_on(Device.CPU, bundle.model).run(fed(bundle, 5)), auto.run(fed(bundle, 5)))
    (line,) = caplog.messages
    assert "cannot be measured, scoring on the CPU: CUDA out of memory" in line


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
