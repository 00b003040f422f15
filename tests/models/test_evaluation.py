from __future__ import annotations

import numpy as np
import pytest

from engine.manifest import Thresholds
from models.calibration import fit_platt
from models.evaluation import calibration_error, card_precision, compromised, evaluate
from tests.models.tools import DAY_MS, planted_history


def test_platt_scaling_recovers_what_was_done_to_the_odds() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(-3, 2, 200_000)
    labels = rng.random(len(truth)) < 1 / (1 + np.exp(-truth))
    slope, offset = fit_platt((truth - 0.5) / 2, labels)
    assert slope == pytest.approx(2, rel=0.03)
    assert offset == pytest.approx(0.5, abs=0.06)


def test_a_prior_holds_the_calibration_until_many_events_say_otherwise() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(-1, 1, 1_000_000)
    labels = rng.random(len(truth)) < 1 / (1 + np.exp(-truth))
    few, many = (fit_platt(truth[:n] - 0.5, labels[:n], prior=0.02) for n in (300, len(truth)))
    assert few == pytest.approx((1.0, 0.0), abs=0.05)
    assert many == pytest.approx((1.0, 0.5), abs=0.02)
    assert fit_platt(truth[:300] - 0.5, labels[:300])[1] > 0.2


@pytest.mark.parametrize("labels", [[True, True], [False, False], [True, False]])
def test_platt_scaling_leaves_alone_what_it_cannot_fit(labels: list[bool]) -> None:
    assert fit_platt(np.array([-1.0, 1.0]), np.array(labels)) == (1.0, 0.0)


def test_card_precision_passes_over_cards_found_before() -> None:
    # card 0 is found on day 1, so on day 2 the one place goes to card 1
    days = np.array([1, 1, 2, 2])
    cards = np.array([0, 1, 0, 1])
    scores = np.array([0.9, 0.1, 0.9, 0.5])
    labels = np.array([True, False, True, True])
    assert card_precision(scores, labels, cards, days, k=1) == 1.0
    assert card_precision(scores, labels, cards, days, k=2) == pytest.approx(0.5)


def test_a_card_is_compromised_from_eight_days_after_its_fraud() -> None:
    columns, _ = planted_history(accounts=1, days=40)
    labels = np.zeros(len(columns), dtype=np.float32)
    labels[3] = 1.0
    day = columns.event_time_ms // DAY_MS
    found = compromised(columns, labels, since_ms=0)
    assert (found == (day >= day[3] + 8)).all()
    later = compromised(columns, labels, since_ms=int(columns.event_time_ms[3]) + 1)
    assert not later.any()


def test_calibration_error_of_true_probabilities_is_small() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(100_000) * 0.1
    labels = rng.random(len(scores)) < scores
    assert calibration_error(scores, labels) < 0.003
    assert calibration_error(scores + 0.5, labels) == pytest.approx(0.5, abs=0.005)


def test_unknown_labels_do_not_count_and_missing_kinds_give_none() -> None:
    columns, labels = planted_history(accounts=30)
    scores = np.where(labels > 0, 0.9, 0.1)
    labels[::3] = np.nan
    found = evaluate(scores, labels, columns, thresholds=Thresholds(0.5, 0.8))
    assert found.events == int((~np.isnan(labels)).sum())
    assert found.auc_roc == found.average_precision == 1.0
    assert found.at_threshold["review"]["recall"] == 1.0
    genuine = evaluate(scores, np.zeros_like(labels), columns)
    assert genuine.auc_roc is None
    nothing = evaluate(scores, np.full_like(labels, np.nan), columns)
    assert (nothing.events, nothing.calibration_error) == (0, None)
