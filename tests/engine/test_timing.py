from __future__ import annotations

from pathlib import Path

import pytest

from engine.bundle import Bundle
from engine.device import CPU, Device
from engine.timing import time_graph
from models.packs.registry import pack_folder
from tests.bundles import shared_bundle, tiny_bundle


@pytest.mark.parametrize("make", [tiny_bundle, shared_bundle])
def test_each_batch_of_a_graph_is_timed(make: object, tmp_path: Path) -> None:
    bundle = Bundle.load(make(tmp_path))  # type: ignore[operator]
    provider, times = time_graph(bundle, Device.CPU, batches=(1, 7))
    assert provider == CPU
    assert [each.batch for each in times] == [1, 7]
    assert all(each.us_per_event > 0 for each in times)


def test_a_graph_with_parameters_is_timed() -> None:
    bundle = Bundle.load(pack_folder("credit") / "bundle")
    _, times = time_graph(bundle, Device.CPU, batches=(3,))
    assert times[0].us_per_event > 0
