"""What the epochs of a training do: each setting by what would be missing without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from engine.errors import ConfigError
from models.data import by_account, walks
from models.learner import Learner, drop_columns, validation_logits
from models.objective import weighted_loss
from models.processes import joined
from models.schedule import learning_rate_at, momentum_at
from tests.models.learning import History, learner_of, small_history, weights
from tests.models.tools import train_config


@pytest.fixture(scope="module")
def history() -> History:
    return small_history()


def test_the_loss_falls(history: History) -> None:
    learner = learner_of(history, epochs=6)
    losses = [learner.epoch() for _ in range(6)]
    assert losses[-1] < 0.7 * losses[0]


def test_validation_needs_no_table_of_encoded_features(
    history: History,
) -> None:
    learner = learner_of(history)
    learner.epoch()
    expected = validation_logits(learner.averaged, learner.material)
    assert np.array_equal(learner.validation_logits(), expected)
    assert len(expected) == learner.material.periods.validation.sum()


def test_later_events_teach_nothing(history: History) -> None:
    first, second = learner_of(history), learner_of(history)
    late = torch.from_numpy(second.material.periods.validation)
    columns, labels = second.material.columns.clone(), second.material.labels.clone()
    columns[late], labels[late] = 7.0, 1.0
    changed = replace(second.material, columns=columns, labels=labels)
    second = Learner(second.scorer, changed, second.config)
    assert first.epoch() == second.epoch()
    assert torch.equal(weights(first), weights(second))


def test_the_gradient_is_clipped(history: History) -> None:
    learner = learner_of(history, clip=1e-9)
    learner.epoch()
    norm = sum(float(p.grad.norm() ** 2) for p in learner.scorer.parameters() if p.grad is not None)
    assert 0 < norm**0.5 <= 1.1e-9


def test_the_kept_model_is_the_average(history: History) -> None:
    learner = learner_of(history, average=0.9)
    before = weights(learner).clone()
    learner.epoch()
    kept = torch.cat([each.flatten() for each in learner.averaged.parameters()])
    assert not torch.equal(kept, weights(learner))
    assert not torch.equal(kept, before)
    decay_free = learner_of(history, average=0.0)
    decay_free.epoch()
    kept = torch.cat([each.flatten() for each in decay_free.averaged.parameters()])
    torch.testing.assert_close(kept, weights(decay_free))


def test_drawn_genuine_events_weigh_what_those_left_out_did(
    history: History,
) -> None:
    learner = learner_of(history, negatives=0.25)
    labels = learner.material.labels.numpy()
    taught = learner.material.periods.training
    drawn = learner.drawn(np.random.default_rng(0)).numpy()
    assert (drawn[taught & (labels > 0.5)] == 1.0).all()
    genuine = drawn[taught & (labels < 0.5)]
    assert set(np.unique(genuine)) == {0.0, 4.0}
    assert genuine.mean() == pytest.approx(1.0, abs=0.2)
    assert (drawn[~taught] == 0.0).all()


def test_the_optimizer_follows_the_schedule_to_its_end(
    history: History,
) -> None:
    learner = learner_of(history, epochs=2, rise=0.5, learning_rate=0.01)
    seen = []
    original = learner._set_schedule

    def spy(done: float) -> None:
        original(done)
        seen.append(learner.optimizer.param_groups[0]["lr"])

    learner._set_schedule = spy  # type: ignore[method-assign]
    learner.epoch()
    first = len(seen)
    learner.epoch()
    assert seen[:first] == sorted(seen[:first])
    assert seen[first:] == sorted(seen[first:], reverse=True)
    assert max(seen) == pytest.approx(0.01, rel=0.05)
    assert seen[0] == pytest.approx(0.01 / 25)
    assert seen[-1] < 0.002


def test_the_schedule_is_one_cycle() -> None:
    done = np.linspace(0, 1, 101)
    rates = [learning_rate_at(each, 0.15) for each in done]
    assert int(np.argmax(rates)) == 15
    assert rates[-1] < 1e-5
    momenta = [momentum_at(each, 0.15) for each in done]
    assert int(np.argmin(momenta)) == 15
    assert (momenta[0], momenta[-1]) == (0.95, pytest.approx(0.95))
    assert learning_rate_at(1.0, 1.0) == 1.0


@pytest.mark.parametrize(
    "settings",
    [
        {"feature_dropout": 0.5},
        {"label_smoothing": 0.1},
        {"focal": 2.0},
        {"weight_decay": 1.0},
        {"precision": "bfloat16"},
        {"seed": 1},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_a_setting_changes_what_is_learnt(settings: dict[str, object], history: History) -> None:
    plain, other = learner_of(history), learner_of(history, **settings)
    assert np.isfinite([plain.epoch(), other.epoch()]).all()
    assert not torch.equal(weights(plain), weights(other))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns_nearly_the_same(precision: str, history: History) -> None:
    plain, half = learner_of(history, precision="float32"), learner_of(history, precision=precision)
    assert half.precision.scaler.is_enabled() == (precision == "float16")
    assert half.epoch() == pytest.approx(plain.epoch(), rel=0.05)
    assert all(each.dtype == torch.float32 for each in half.scorer.state_dict().values())


def test_a_dropped_feature_is_gone_from_all_steps_of_an_account() -> None:
    torch.manual_seed(0)
    seen = drop_columns(torch.ones(50, 6, 8), 0.25)
    assert torch.equal(seen, seen[:, :1].expand_as(seen))
    assert torch.equal(seen[..., :4], seen[..., 4:])
    assert seen.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert seen.mean() == pytest.approx(1.0, abs=0.1)
    assert drop_columns(seen, 0.0) is seen


def test_the_loss_is_the_weighted_mean_of_the_members() -> None:
    logits = torch.tensor([[0.5, -1.0], [2.0, 0.0], [-3.0, 1.0]])
    labels, weight = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1.0, 4.0, 1.0])
    parts = torch.stack(
        [
            binary_cross_entropy_with_logits(logits[:, at], labels, weight=weight, reduction="sum")
            for at in range(2)
        ]
    )
    torch.testing.assert_close(weighted_loss(logits, labels, weight), parts.mean() / 6.0)


def test_the_focal_loss_leaves_out_what_is_certain() -> None:
    labels, weight = torch.tensor([1.0, 1.0]), torch.ones(2)
    certain = weighted_loss(torch.tensor([[6.0], [6.0]]), labels, weight, focal=2.0)
    plain = weighted_loss(torch.tensor([[6.0], [6.0]]), labels, weight)
    assert certain < 1e-4 * plain
    wrong = weighted_loss(torch.tensor([[-6.0], [-6.0]]), labels, weight, focal=2.0)
    assert wrong == pytest.approx(6.0, rel=0.01)


def test_smoothed_labels_are_reached_short_of_certainty() -> None:
    labels, weight = torch.tensor([1.0]), torch.ones(1)
    best = float(torch.logit(torch.tensor(0.95)))
    losses = [
        float(weighted_loss(torch.tensor([[logit]]), labels, weight, smoothing=0.1))
        for logit in (best - 1, best, best + 1)
    ]
    assert min(losses) == losses[1]


def test_a_walk_goes_over_every_event_once_and_in_order() -> None:
    accounts = np.random.default_rng(0).integers(0, 30, 500)
    histories = by_account(accounts)
    seen = []
    for walk in walks(histories, 4, 5):
        own = [chunk.rows[chunk.valid] for chunk in walk]
        steps = [part.tolist() for part in own]
        assert all(accounts[row] in accounts[steps[0]] for part in steps for row in part)
        seen += [row for part in steps for row in part]
    assert sorted(seen) == list(range(500))
    for account in range(30):
        own_rows = [row for row in seen if accounts[row] == account]
        assert own_rows == sorted(own_rows)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("feature_dropout", 1.0),
        ("average", 1.0),
        ("clip", 0.0),
        ("learning_rate", -1e-3),
        ("weight_decay", -1.0),
        ("precision", "float8"),
        ("patience", 0),
    ],
)
def test_a_setting_out_of_range_is_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"{name} must be .*, however: {value}"):
        train_config(**{name: value})


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_a_gpu_learns_what_the_cpu_learns(precision: str, history: History) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU, and a PyTorch that is built for CUDA")
    settings = {"epochs": 2, "windows": 64}
    on_cpu = learner_of(history, precision="float32", **settings)
    with joined("cuda") as processes:
        on_gpu = learner_of(history, processes, precision=precision, **settings)
        assert on_gpu.epoch() == pytest.approx(on_cpu.epoch(), rel=0.02)
        found = on_gpu.validation_logits()
    np.testing.assert_allclose(found, on_cpu.validation_logits(), atol=0.2)
    assert on_gpu.precision.name == ("float32" if precision == "float32" else "bfloat16")
