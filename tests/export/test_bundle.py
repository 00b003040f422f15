from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from engine.bundle import Bundle
from engine.errors import BundleError
from engine.scorer import Scorer as EngineScorer
from engine.waves import index_accounts
from export.bundle import export_bundle
from export.graph import export_model, export_reasons, refuse_wrong_kernels
from export.parity import Parity, check_parity, random_buckets
from models.training import TrainedScorer
from tests.export.both_ways import assert_both_ways_agree
from tests.models.tools import SCHEMA, planted_history, random_scorer, zeros

MOST_NODES = 300


@pytest.fixture(scope="module")
def written(
    trained: TrainedScorer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Parity]:
    folder = tmp_path_factory.mktemp("bundle")
    parity = export_bundle(
        trained,
        folder,
        name="tiny",
        version="7",
        training={"data": "planted"},
        metrics={"test": {"auc_roc": 1.0}},
        created=datetime(2026, 1, 2, tzinfo=UTC),
    )
    return folder, parity


def test_the_graphs_agree_with_pytorch(written: tuple[Path, Parity]) -> None:
    _, parity = written
    assert parity.events > 5000
    assert parity.score <= 1e-5


def test_the_manifest_says_what_was_trained(
    written: tuple[Path, Parity], trained: TrainedScorer
) -> None:
    manifest = Bundle.load(written[0]).manifest
    assert (manifest.name, manifest.version, manifest.pack) == ("tiny", "7", "fraud")
    assert manifest.family == "gru"
    assert manifest.created == "2026-01-02T00:00:00+00:00"
    assert manifest.state == trained.scorer.layout
    assert manifest.shared == trained.scorer.shared
    assert manifest.features == tuple(each.name for each in trained.scorer.outputs)
    assert manifest.reasons == trained.scorer.reasons
    assert manifest.thresholds == trained.thresholds
    assert manifest.training["data"] == "planted"
    assert manifest.training["config"]["scorer"]["cell"]["name"] == "gru"
    assert set(manifest.metrics) == {"validation", "test"}


def test_the_graphs_keep_the_contract(written: tuple[Path, Parity]) -> None:
    bundle = Bundle.load(written[0])
    model = onnx.load_from_string(bundle.model)
    inputs = ["event_id", "event_time", "amount", "state_int64", "state_float32"]
    inputs += ["shared_terminal", "shared_terminal_lately", "shared_account"]
    assert [each.name for each in model.graph.input] == inputs
    outputs = ["score", "duplicate", "late", "kept", "new_state_int64", "new_state_float32"]
    assert [each.name for each in model.graph.output] == outputs
    assert [each.version for each in model.opset_import if each.domain == ""] == [20]
    for each in (*model.graph.input, *model.graph.output):
        assert each.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert len(model.graph.node) <= MOST_NODES
    reasons = onnx.load_from_string(bundle.reasons)
    assert [each.name for each in reasons.graph.input] == inputs
    assert [each.name for each in reasons.graph.output] == ["contributions", "features"]


def test_the_graphs_tell_nothing_of_where_they_were_made(written: tuple[Path, Parity]) -> None:
    bundle = Bundle.load(written[0])
    here = str(Path(__file__).parents[2]).encode()
    for content in (bundle.model, bundle.reasons):
        assert here not in content
        assert b".py" not in content
        assert len(content) < 300_000


def test_the_engine_scores_a_stream_as_pytorch_does(
    written: tuple[Path, Parity], trained: TrainedScorer
) -> None:
    columns, _ = planted_history(accounts=5, days=20)
    engine = EngineScorer(Bundle.load(written[0]))
    accounts, index = index_accounts(columns.accounts)
    rng = np.random.default_rng(0)
    shared = random_buckets(trained.scorer.shared, len(columns), rng)
    scored = engine.score(columns, engine.layout.zeros(len(accounts)), index, shared, True)
    states = {name: zeros(trained.scorer, 1) for name in accounts}
    for row, account in enumerate(columns.accounts):
        events = {
            name: torch.from_numpy(columns.values[name][row : row + 1])
            for name in trained.scorer.inputs
        }
        with torch.inference_mode():
            buckets = {name: torch.from_numpy(part[row : row + 1]) for name, part in shared.items()}
            out = trained.scorer.step(events, states[account], buckets)
            made, _, _ = trained.scorer.features(events, states[account], buckets)
        states[account] = out.state
        np.testing.assert_allclose(scored.features[row], made[0].numpy(), rtol=1e-4, atol=1e-4)
        assert abs(out.score.item() - scored.scores[row].item()) <= 1e-5
    alerted = np.flatnonzero(scored.scores >= trained.thresholds.review)
    assert sorted(scored.reasons) == alerted.tolist()


def test_training_over_whole_histories_scores_as_the_graph_serves(
    written: tuple[Path, Parity], trained: TrainedScorer
) -> None:
    assert_both_ways_agree(trained.scorer, Bundle.load(written[0]))


@pytest.mark.slow
def test_a_graph_of_another_model_is_refused() -> None:
    right, wrong = random_scorer(seed=0), random_scorer(seed=1)
    model = export_model(wrong, SCHEMA)
    with pytest.raises(BundleError, match=r"(of|with) PyTorch"):
        check_parity(right, SCHEMA, model, export_reasons(right, SCHEMA), steps=3, batch_sizes=(7,))


def test_nodes_that_the_runtime_gets_wrong_are_refused() -> None:
    make = onnx.helper
    value = [make.make_tensor_value_info(name, onnx.TensorProto.INT64, ["batch"]) for name in "abc"]
    node = make.make_node("Max", ["a", "b"], ["c"], name="latest")
    model = make.make_model(make.make_graph([node], "g", value[:2], value[2:]))
    with pytest.raises(BundleError, match="Max"):
        refuse_wrong_kernels(model)
