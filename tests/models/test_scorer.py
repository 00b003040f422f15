from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from engine.errors import ConfigError, SchemaError
from models.cells.registry import CELLS, build_cell
from models.config import Part
from models.scorer import Scorer
from tests.models.tools import (
    CONFIG,
    DAY_MS,
    SCHEMA,
    START_MS,
    batch,
    random_scorer,
    scorer_config,
    unknown,
    zeros,
)

MOST_STATE_BYTES = 960
MOST_CARRIED_BYTES = 256


def test_the_default_state_fits_its_budget() -> None:
    assert Scorer(SCHEMA, CONFIG.scorer).layout.nbytes <= MOST_STATE_BYTES


@pytest.mark.parametrize("family", CELLS)
def test_what_a_cell_carries_fits_its_budget(family: str) -> None:
    assert build_cell(family, 80, {}).state_size * 4 <= MOST_CARRIED_BYTES


@pytest.mark.parametrize("family", CELLS)
def test_a_new_account_gets_a_probability(family: str) -> None:
    scorer = random_scorer(family)
    out = scorer.step(batch([5], [START_MS], [7], [12.5]), zeros(scorer, 1), unknown(scorer, 1))
    assert 0 < out.score.item() < 1
    assert not out.duplicate.item()
    assert not out.late.item()


def test_a_repeat_gets_its_first_answer_and_changes_nothing() -> None:
    scorer = random_scorer()
    state, scores = zeros(scorer, 2), []
    for at in range(10):
        out = scorer.step(
            batch([at, -at], [START_MS + at * 1000] * 2, [at, 3], [9, 99]),
            state,
            unknown(scorer, 2),
        )
        state = out.state
        scores.append(out.score)
    again = scorer.step(
        batch([4, 1000], [START_MS + 9_999_999] * 2, [1, 1], [1, 1]), state, unknown(scorer, 2)
    )
    assert again.duplicate.tolist() == [True, False]
    assert again.score[0].item() == scores[4][0].item()
    for dtype, part in state.items():
        assert torch.equal(again.state[dtype][0], part[0])
        assert not torch.equal(again.state[dtype][1], part[1])


def test_an_id_that_hashes_to_zero_is_no_repeat_of_an_empty_slot() -> None:
    scorer = random_scorer()
    out = scorer.step(batch([0], [START_MS], [0], [1.0]), zeros(scorer, 1), unknown(scorer, 1))
    assert not out.duplicate.item()
    assert scorer.step(
        batch([0], [START_MS], [0], [1.0]), out.state, unknown(scorer, 1)
    ).duplicate.item()


def test_a_late_event_is_marked_and_does_not_move_time_back() -> None:
    scorer = random_scorer()
    last_ms = START_MS + 10 * DAY_MS
    before = scorer.step(
        batch([1], [last_ms], [1], [5.0]), zeros(scorer, 1), unknown(scorer, 1)
    ).state
    at_limit = scorer.step(batch([2], [last_ms - DAY_MS], [1], [5.0]), before, unknown(scorer, 1))
    assert not at_limit.late.item()
    late = scorer.step(batch([2], [last_ms - DAY_MS - 1], [1], [5.0]), before, unknown(scorer, 1))
    assert late.late.item()
    place = scorer.layout.offsets["last_time"]
    assert late.state["int64"][0, place].item() == last_ms


@pytest.mark.parametrize("family", [family for family in CELLS if family != "mlp"])
def test_step_is_forward_sequence_over_the_features(family: str) -> None:
    scorer = random_scorer(family)
    state, columns, scores = zeros(scorer, 3), [], []
    features_state, shared = zeros(scorer, 3), unknown(scorer, 3)
    generator = torch.Generator().manual_seed(1)
    with torch.inference_mode():
        for at in range(30):
            amounts = (torch.rand(3, generator=generator) * 90).tolist()
            events = batch([at] * 3, [START_MS + at * 7_000_000] * 3, [at % 4] * 3, amounts)
            made, _, features_state = scorer.features(events, features_state, shared)
            out = scorer.step(events, state, shared)
            state = out.state
            columns.append(made)
            scores.append(out.score)
        start = torch.zeros(3, scorer.cell.state_size)
        valid = torch.ones(3, 30, dtype=torch.bool)
        inputs, last = scorer.forward_sequence(torch.stack(columns, dim=1), start, valid)
        logit = scorer.calibration(scorer.head(inputs))[:, :, 0]
    torch.testing.assert_close(torch.sigmoid(logit), torch.stack(scores, dim=1), atol=1e-5, rtol=0)
    place = scorer.layout.offsets["memory"]
    torch.testing.assert_close(last, state["float32"][:, place:], atol=1e-5, rtol=0)


def test_the_contribution_of_all_groups_at_their_reference_is_zero() -> None:
    scorer = random_scorer()
    events, state = batch([1], [START_MS], [1], [30.0]), zeros(scorer, 1)
    shared = unknown(scorer, 1)
    scorer.reference.copy_(scorer.features(events, state, shared)[0][0])
    found = scorer.explain(events, state, shared).contributions
    assert found.shape == (1, len(scorer.reasons))
    assert found.abs().max().item() < 1e-5


def test_states_mix_only_between_models_that_write_the_same() -> None:
    one, same, other = random_scorer(seed=0), random_scorer(seed=0), random_scorer(seed=1)
    assert one.layout.digest == same.layout.digest != other.layout.digest
    with torch.no_grad():
        same.head.linear.weight += 1.0
        same.calibration.set(2.0, 1.0)
    assert one.layout.digest == same.layout.digest


@pytest.mark.parametrize("family", [family for family in CELLS if family != "mlp"])
def test_the_reason_of_the_sequence_is_what_a_new_account_would_lack(family: str) -> None:
    scorer = random_scorer(family)
    place = [each.name for each in scorer.reasons].index("sequence")
    new = zeros(scorer, 1)
    first = batch([1], [START_MS], [1], [30.0])
    again = batch([2], [START_MS + 60_000], [2], [90.0])
    with torch.inference_mode():
        known = scorer.step(first, new, unknown(scorer, 1)).state
        of_first = scorer.explain(first, new, unknown(scorer, 1)).contributions[0, place]
        of_again = scorer.explain(again, known, unknown(scorer, 1)).contributions[0, place]
    assert abs(of_first.item()) < 1e-6 < 1e-4 < abs(of_again.item())


def test_a_scorer_without_memory_has_no_reason_for_it() -> None:
    assert "sequence" not in [each.name for each in random_scorer("mlp").reasons]
    assert "sequence" in [each.name for each in random_scorer("gru").reasons]


def test_a_group_without_a_sentence_is_refused() -> None:
    config = scorer_config()
    with pytest.raises(ConfigError, match="'amount'"):
        Scorer(SCHEMA, replace(config, reasons=config.reasons[1:]))


def test_a_field_that_is_not_there_is_refused() -> None:
    with pytest.raises(SchemaError, match="'shop'"):
        Scorer(SCHEMA, replace(scorer_config(), counterparty="shop"))


def test_a_column_that_is_made_twice_is_refused() -> None:
    features = (*scorer_config().features, Part("recency"))
    with pytest.raises(ConfigError, match="'gap_s'"):
        Scorer(SCHEMA, replace(scorer_config(), features=features))


def test_features_are_what_the_declaration_lists() -> None:
    parts = (Part("recency"), Part("clock"))
    config = replace(scorer_config(), features=parts, omit=("first",), shared=())
    scorer = Scorer(SCHEMA, config)
    assert scorer.inputs == ("event_id", "event_time", "amount")
    assert len(scorer.outputs) == 8
    assert [each.name for each in scorer.outputs[:3]] == ["gap_s", "earlier", "day_sin"]


def test_a_column_that_is_omitted_or_kept_must_be_made() -> None:
    parts = (Part("recency"),)
    config = replace(scorer_config(), features=parts, omit=("frist",), shared=())
    with pytest.raises(ConfigError, match="'frist'"):
        Scorer(SCHEMA, config)
    config = replace(scorer_config(), features=parts, omit=())
    with pytest.raises(ConfigError, match=r"column that the scorer makes, however: no \['ratio'\]"):
        Scorer(SCHEMA, config)
