"""Choosing thresholds, by a budget and by cost."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pytest

from engine.errors import ConfigError, HistoryError
from engine.manifest import Thresholds
from models.costs import Costs
from models.thresholds import (
    COST,
    ThresholdRule,
    described,
    thresholds_by_budget,
    thresholds_by_cost,
)

COSTS = Costs(review_cost=2.0, fraud_loss_share=0.8, decline_cost=9.0)


def test_thresholds_keep_the_budget_and_the_precision() -> None:
    rng = np.random.default_rng(1)
    scores = rng.beta(0.3, 6, 50_000).astype(np.float32)
    labels = rng.random(len(scores)) < scores
    found = thresholds_by_budget(scores, labels, review_share=0.01, decline_precision=0.6)
    assert (scores >= found.review).mean() <= 0.01
    assert labels[scores >= found.decline].mean() >= 0.6
    assert found.review <= found.decline


def test_a_precision_out_of_reach_leaves_a_tenth_of_the_budget() -> None:
    scores = np.linspace(0, 1, 10_000, dtype=np.float32)
    found = thresholds_by_budget(
        scores, np.zeros(10_000, dtype=bool), review_share=0.05, decline_precision=0.9
    )
    assert (scores >= found.review).sum() == 500
    assert (scores >= found.decline).sum() == 50


def test_equal_scores_do_not_overrun_the_budget() -> None:
    scores = np.full(1000, 0.5, dtype=np.float32)
    found = thresholds_by_budget(
        scores, np.ones(1000, dtype=bool), review_share=0.1, decline_precision=0.9
    )
    assert not (scores >= found.review).any()


def events(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, labels that follow them, amounts."""
    rng = np.random.default_rng(seed)
    scores = (np.round(rng.beta(0.5, 2, n) * 12) / 13).astype(np.float32)
    return scores, rng.random(n) < scores, rng.gamma(2, 10, n)


def cost(
    scores: np.ndarray, fraud: np.ndarray, amounts: np.ndarray, costs: Costs, at: Thresholds
) -> float:
    """The plain cost, event by event."""
    total = 0.0
    for score, odds, amount in zip(scores.tolist(), fraud, amounts, strict=True):
        if score >= at.decline:
            total += costs.decline_cost * (1.0 - odds)
        elif score >= at.review:
            total += costs.review_cost
        else:
            total += costs.fraud_loss_share * amount * odds
    return float(total)


@pytest.mark.parametrize("costs", [COSTS, Costs(0.5, 1.0, 1.0), Costs(30.0, 1.0, 4.0), Costs()])
@pytest.mark.parametrize("seed", range(5))
def test_no_pair_of_thresholds_costs_less_than_the_chosen(seed: int, costs: Costs) -> None:
    scores, labels, amounts = events(seed)
    steps = [*np.unique(scores).tolist(), 1.0]
    for fraud in (labels, scores):
        found = thresholds_by_cost(scores, fraud, amounts, costs)
        pairs = [Thresholds(*pair) for pair in combinations_with_replacement(steps, 2)]
        least = min(cost(scores, fraud, amounts, costs, each) for each in pairs)
        assert cost(scores, fraud, amounts, costs, found) == pytest.approx(least)


def test_expected_costs_decline_from_a_closed_form_on() -> None:
    # a review costs 2 and declines cost 9 (1 - p): declining is cheaper from p = 1 - 2 / 9 on
    scores = np.linspace(0.01, 0.99, 99).astype(np.float32)
    found = thresholds_by_cost(scores, scores, np.full(99, 50.0), COSTS)
    assert found.decline == pytest.approx(0.78)
    # and a review from 0.8 * 50 * p = 2 on
    assert found.review == pytest.approx(0.05)


def test_where_nothing_is_worth_a_review_nothing_is_alerted() -> None:
    scores, _, amounts = events(0)
    found = thresholds_by_cost(scores, scores, amounts, Costs(1e6, 1.0, 1e6))
    assert not (scores >= found.review).any()


def test_a_rule_by_cost_weighs_labels_and_amounts() -> None:
    scores, labels, amounts = events(1)
    rule = ThresholdRule(by=COST, costs=COSTS)
    found = rule.choose(scores, labels, amounts, 8)
    assert found == thresholds_by_cost(scores, labels, amounts, COSTS)
    with pytest.raises(ConfigError, match="must have amounts, however"):
        rule.choose(scores, labels, None, 8)
    with pytest.raises(HistoryError, match="must be chosen on frauds and genuine events, however"):
        rule.choose(scores, np.zeros_like(labels), amounts, 8)


def test_a_rule_of_alerts_a_day_keeps_to_them() -> None:
    scores = np.random.default_rng(0).random(10_000).astype(np.float32)
    found = ThresholdRule(alerts_per_day=25).choose(scores, scores > 0.9, None, 8)
    assert (scores >= found.review).sum() == 200
    everything = ThresholdRule(alerts_per_day=1e9).choose(scores, scores > 0.9, None, 8)
    assert (scores >= everything.review).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"by": "luck"},
        {"review_share": 0.0},
        {"decline_precision": 1.5},
        {"alerts_per_day": -1.0},
        {"alerts_per_day": float("nan")},
        {"review_share": "half"},
    ],
    ids=str,
)
def test_a_rule_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"must be .*, however"):
        ThresholdRule(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf"), "3"])
def test_a_cost_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="review_cost must be a number of at least 0, however"):
        Costs(review_cost=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (ThresholdRule(review_share=0.012), "gives 1.2 % of the events"),
        (ThresholdRule(alerts_per_day=40), "gives 40 alerts a day"),
        (ThresholdRule(by=COST, costs=COSTS), "a review costs 2, an approved fraud 80 %"),
    ],
    ids=["share", "alerts", "cost"],
)
def test_a_rule_says_what_it_is(rule: ThresholdRule, words: str) -> None:
    assert words in described(rule.to_dict())
