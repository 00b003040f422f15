"""Every family of cell is exported as it is, and for any kind of device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch

from engine.bundle import Bundle
from export.bundle import export_bundle
from export.kernels import without_cuda_kernel
from export.restore import restore_scorer
from models.cells.registry import CELLS
from models.training import TrainedScorer
from tests.export.both_ways import assert_both_ways_agree
from tests.models.tools import random_scorer

#: Nodes that steer the run of a graph from the processor, shapes that it would wait for, and what
#: has no kernel for CUDA in every ONNX Runtime that riskstream takes.
OFF_THE_DEVICE = {"If", "Loop", "Scan", "Shape", "NonZero", "SequenceConstruct", "Pad"}


#: The families that no other test exports, with options that their defaults do not show.
KINDS: dict[str, dict[str, int]] = {
    "cnn": {"size": 8, "kept": 3, "layers": 2, "kernel": 3},
    "attention": {"size": 8, "kept": 4, "events": 5, "heads": 3, "blocks": 2},
    "mlp": {"size": 8},
}


#: What an MLP adds to the graph is in the others too, and an export takes a while.
IN_SHORT = ["cnn", "attention", pytest.param("mlp", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=IN_SHORT)
def exported(
    request: pytest.FixtureRequest, trained: TrainedScorer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, TrainedScorer, Bundle]:
    """An untrained scorer of a family and its bundle, which the export found to agree."""
    family: str = request.param
    scorer = random_scorer(family, options=KINDS[family])
    untrained = replace(
        trained, scorer=scorer, config=replace(trained.config, scorer=scorer.config)
    )
    folder: Path = tmp_path_factory.mktemp(family)
    parity = export_bundle(untrained, folder, name=family, version="1")
    assert parity.events > 5000
    return family, untrained, Bundle.load(folder)


def test_every_family_is_exported_by_a_test() -> None:
    assert {*KINDS, "gru"} == set(CELLS)
    assert len(IN_SHORT) == len(KINDS)


def test_a_bundle_tells_its_family(exported: tuple[str, TrainedScorer, Bundle]) -> None:
    family, untrained, bundle = exported
    assert bundle.manifest.family == family
    assert bundle.manifest.state == untrained.scorer.layout
    remembers = "memory" in [each.name for each in bundle.manifest.state.fields]
    assert remembers == (family != "mlp")


def test_no_graph_is_steered_from_the_processor(
    exported: tuple[str, TrainedScorer, Bundle],
) -> None:
    for graph in (exported[2].model, exported[2].reasons):
        used = {each.op_type for each in onnx.load_from_string(graph).graph.node}
        assert used & OFF_THE_DEVICE == set()


def test_a_bundle_gives_back_every_weight(exported: tuple[str, TrainedScorer, Bundle]) -> None:
    _, untrained, bundle = exported
    restored = restore_scorer(bundle).state_dict()
    for name, weight in untrained.scorer.named_parameters():
        assert torch.equal(restored[name], weight), name


def test_training_over_whole_histories_scores_as_the_graph_serves(
    exported: tuple[str, TrainedScorer, Bundle],
) -> None:
    _, untrained, bundle = exported
    assert_both_ways_agree(untrained.scorer, bundle)


def test_no_node_of_a_family_lacks_a_kernel_for_cuda(
    exported: tuple[str, TrainedScorer, Bundle],
) -> None:
    _, _, bundle = exported
    assert without_cuda_kernel(bundle.model) == []
    assert without_cuda_kernel(bundle.reasons) == []
