from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.bundle import Bundle
from engine.errors import ConfigError
from export.bundle import export_bundle
from export.restore import restore_scorer
from models.head import Head
from models.training import train
from tests.models.tools import SCHEMA, planted_history, scorer_config, train_config


def test_members_begin_unlike_each_other_and_their_mean_is_served() -> None:
    torch.manual_seed(0)
    head = Head(6, (8, 4), 0.0, members=5).eval()
    x = torch.randn(3, 7, 6)
    each = head.members(x)
    assert each.shape == (3, 7, 5)
    assert each.std(-1).min() > 0
    torch.testing.assert_close(head(x), each.mean(-1, keepdim=True))


def test_one_member_is_the_plain_head() -> None:
    head = Head(6, (8,), 0.0)
    names = ["layers.0.weight", "layers.0.bias", "layers.3.weight", "layers.3.bias"]
    assert sorted(head.state_dict()) == sorted([*names, "linear.weight"])
    x = torch.randn(4, 6)
    assert torch.equal(head(x), head.members(x))


def test_members_whose_multipliers_are_one_share_their_layers() -> None:
    torch.manual_seed(0)
    head = Head(6, (8,), 0.0, members=3)
    layer = head.layers[0]
    torch.nn.init.ones_(layer.scale_in)
    torch.nn.init.zeros_(layer.bias)
    x = torch.randn(4, 6)
    expected = x @ layer.shared
    torch.testing.assert_close(layer(x[:, None]), expected[:, None].expand(4, 3, 8))


@pytest.mark.slow
def test_a_head_of_members_is_trained_exported_and_restored(tmp_path: Path) -> None:
    columns, labels = planted_history(accounts=100)
    config = train_config(scorer=replace(scorer_config(), members=4), epochs=3)
    trained = train(columns, labels, SCHEMA, config)
    assert trained.metrics["average_precision"] > 0.5
    parity = export_bundle(trained, tmp_path, name="members", version="1")
    assert parity.score <= 1e-5
    restored = restore_scorer(Bundle.load(tmp_path))
    assert restored.config.members == 4
    for name, value in trained.scorer.named_parameters():
        assert torch.equal(restored.get_parameter(name), value), name
    signs = restored.get_parameter("head.layers.0.scale_in")
    assert (signs < 0).any()
    assert (signs > 0).any()


def test_less_than_one_member_is_refused() -> None:
    with pytest.raises(ConfigError, match="members must be 1 or more, however: 0"):
        replace(scorer_config(), members=0)
