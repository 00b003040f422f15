"""The figures of an evaluation, against plain references, and its report."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from engine.manifest import Thresholds
from models.costs import Costs
from models.evaluation import Assessment, Judged, assess, judge
from models.evaluation.baselines import baselines
from models.evaluation.confidence import ranking_intervals, weighted_ranking, wilson
from models.evaluation.curves import alert_curve, precision_recall, reliability_bins, thinned
from models.evaluation.money import alerts_of
from models.evaluation.plots import figures
from models.evaluation.report import About, evaluation_page, weak_points
from tests.bundles import MANIFEST
from tests.html import ReadPage
from tests.models.tools import DAY_MS, SCHEMA, planted_history

COSTS = Costs(review_cost=2.0, fraud_loss_share=0.8, decline_cost=9.0)
THRESHOLDS = Thresholds(review=0.31, decline=0.71)
START_MS = 17_532 * DAY_MS  # a Monday


def some_events(n: int = 3_000, seed: int = 0, **changes: Any) -> Judged:
    """Events of 21 days whose scores are true probabilities, many of them equal."""
    rng = np.random.default_rng(seed)
    scores = (np.round(rng.beta(0.2, 3, n) * 50) / 50).astype(np.float32)
    fraud = rng.random(n) < scores
    parts: dict[str, Any] = {
        "scores": scores,
        "fraud": fraud,
        "event_time_ms": START_MS + np.sort(rng.integers(0, 21 * DAY_MS, n)),
        "cards": rng.integers(0, 80, n),
        "earlier": rng.integers(0, 300, n),
        "amounts": rng.gamma(2.0, 20.0, n),
        "scenario": np.where(fraud, rng.choice(["1", "2", "10"], n), "").astype(object),
    }
    return Judged(**{**parts, **changes})


def about(**changes: Any) -> About:
    given: dict[str, Any] = {"manifest": MANIFEST, "digest": "abc" * 20, "data": "a<b>.csv"}
    return About(**{**given, "made": "Made on a day.", **changes})


def test_alerts_are_counted_and_weighed_event_by_event() -> None:
    judged = some_events()
    found = assess(judged, THRESHOLDS, COSTS)
    rows = list(zip(judged.scores.tolist(), judged.fraud, judged.amounts, strict=True))  # type: ignore[arg-type]
    declined = [(fraud, amount) for score, fraud, amount in rows if score >= 0.71]
    reviewed = [(fraud, amount) for score, fraud, amount in rows if 0.31 <= score < 0.71]
    frauds = sum(fraud for _, fraud, _ in rows)
    for name, part in (("declined", declined), ("reviewed", reviewed)):
        own = found.actions[name]
        hits = sum(fraud for fraud, _ in part)
        assert (own.alerts, own.frauds) == (len(part), hits)
        assert own.precision == pytest.approx(hits / len(part))
        assert own.recall == pytest.approx(hits / frauds)
    caught = sum(amount for fraud, amount in declined + reviewed if fraud)
    wrong = sum(not fraud for fraud, _ in declined)
    saved = 0.8 * caught - 2.0 * len(reviewed) - 9.0 * wrong
    assert found.money is not None
    assert found.money.saved == found.actions["alerted"].saved == pytest.approx(saved)
    assert found.money.best_saved >= saved
    assert found.actions["alerted"].per_day == pytest.approx(len(declined + reviewed) / judged.days)


def test_budgets_keep_to_so_many_alerts_a_day() -> None:
    judged = some_events(20_000)
    found = assess(judged, THRESHOLDS, COSTS).budgets
    assert len(found) >= 3
    recalls = [each.recall for each in found]
    assert recalls == sorted(recalls)  # type: ignore[type-var]
    for each, budget in zip(found, (10, 20, 50, 100, 200, 500), strict=False):
        assert each.per_day <= budget


def test_slices_part_all_events_and_add_up() -> None:
    judged = some_events()
    found = assess(judged, THRESHOLDS, COSTS).slices
    groups = {each.group for each in found}
    assert groups == {"fraud scenario", "account's earlier events", "amount", "week from"}
    for group in groups - {"fraud scenario"}:
        own = [each for each in found if each.group == group]
        assert sum(each.events for each in own) == len(judged)
        assert sum(each.frauds for each in own) == judged.fraud.sum()
    scenarios = [each for each in found if each.group == "fraud scenario"]
    assert [each.name for each in scenarios] == ["1", "2", "10"]
    assert sum(each.frauds for each in scenarios) == judged.fraud.sum()
    genuine = int((~judged.fraud).sum())
    assert all(each.events == genuine + each.frauds for each in scenarios)
    weeks = [each.name for each in found if each.group == "week from"]
    assert weeks == ["2018-01-01", "2018-01-08", "2018-01-15"]
    new = next(each for each in found if each.name == "none, a new account")
    assert new.events == (judged.earlier == 0).sum()


def test_a_part_that_is_missed_is_named() -> None:
    judged = some_events()
    small = judged.amounts < np.quantile(judged.amounts, 0.25)  # type: ignore[operator, arg-type]
    scores = np.where(small, judged.scores * 0.2, judged.scores).astype(np.float32)
    found = assess(some_events(scores=scores, fraud=judged.fraud), THRESHOLDS, COSTS)
    (point,) = weak_points(found)
    assert point.startswith("amount below")


def test_wilsons_interval() -> None:
    assert wilson(0, 0) is None
    for hits, low, high in ((0, 0.0, 0.1611), (8, 0.2188, 0.6134), (20, 0.8389, 1.0)):
        found = wilson(hits, 20)
        assert found is not None
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_weighted_ranking_is_that_of_scikit_learn() -> None:
    judged = some_events(500)
    weights = np.random.default_rng(1).integers(0, 4, 500).astype(np.float64)
    order = np.argsort(-judged.scores, kind="stable")
    found = weighted_ranking(judged.scores[order], judged.fraud[order], weights[order])
    each = {"sample_weight": weights}
    assert found[0] == pytest.approx(roc_auc_score(judged.fraud, judged.scores, **each))
    assert found[1] == pytest.approx(average_precision_score(judged.fraud, judged.scores, **each))


def test_intervals_hold_the_figures_and_narrow_with_more_events() -> None:
    widths = []
    for n in (1_000, 16_000):
        judged = some_events(n)
        found = assess(judged, THRESHOLDS, COSTS)
        interval = found.average_precision_interval
        assert interval is not None
        assert found.metrics.average_precision is not None
        assert interval.low < found.metrics.average_precision < interval.high
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0]
    one_card = some_events(50, cards=np.zeros(50, dtype=np.int64))
    assert ranking_intervals(one_card) == (None, None)


def test_curves_are_those_of_their_definition() -> None:
    judged = some_events(200)
    recall, precision = precision_recall(judged.scores, judged.fraud)
    for at, step in enumerate(np.unique(judged.scores)[::-1]):
        chosen = judged.scores >= step
        assert precision[at] == pytest.approx(judged.fraud[chosen].mean())
        assert recall[at] == pytest.approx(judged.fraud[chosen].sum() / judged.fraud.sum())
    curve = alert_curve(judged.scores, judged.fraud, judged.amounts, 2.0)
    assert curve.per_day[-1] == 100
    assert curve.frauds[-1] == 1.0
    assert curve.amount is not None
    assert curve.amount[-1] == pytest.approx(1.0)
    assert thinned(np.arange(10_000.0), 50).tolist()[::49] == [0, 9_999]


def test_reliability_bins_hold_all_events_between_their_steps() -> None:
    judged = some_events()
    bins = reliability_bins(judged.scores, judged.fraud)
    assert sum(each.events for each in bins) == len(judged)
    assert sum(each.frauds for each in bins) == judged.fraud.sum()
    assert all(each.low <= each.score <= each.high for each in bins)


def test_an_accounts_earlier_events_are_counted_before_those_judged() -> None:
    columns, labels = planted_history(accounts=5, days=20)
    keep = np.zeros(len(columns), dtype=bool)
    keep[-40:] = True
    found = judge(np.zeros(len(columns)), labels, columns, schema=SCHEMA, keep=keep)
    for place, row in enumerate(range(len(columns) - 40, len(columns))):
        assert found.earlier[place] == columns.accounts[:row].count(columns.accounts[row])


NOTHING = np.zeros(3_000, dtype=bool)
CASES = {
    "all": {},
    "no amounts": {"amounts": None, "scenario": None},
    "no fraud": {"fraud": NOTHING},
    "fraud only": {"fraud": ~NOTHING},
    "equal scores": {"scores": np.full(3_000, 0.5, dtype=np.float32)},
    "scores of 0 and 1": {"scores": (np.arange(3_000) % 2).astype(np.float32)},
    "free events": {"amounts": np.zeros(3_000)},
}


def case(name: str) -> Assessment:
    judged = some_events(**CASES[name]) if name in CASES else some_events().take(NOTHING)
    return assess(judged, THRESHOLDS, COSTS)


@pytest.mark.parametrize("name", [*CASES, "no events"])
def test_what_the_events_do_not_allow_is_none_and_a_dash(name: str) -> None:
    found = case(name)
    text = orjson.dumps(found.to_dict()).decode()
    assert "NaN" not in text
    read = ReadPage(evaluation_page(found, about(), figures(found)).html())
    assert read.faults == []
    assert "nan" not in read.text.lower().split()
    if name in ("no fraud", "fraud only", "no events"):
        assert found.metrics.auc_roc is None
        assert read.tags["svg"] == 0


def test_the_report_has_each_part_and_stands_alone() -> None:
    judged = some_events()
    noise = some_events(scores=np.random.default_rng(1).random(3_000).astype(np.float32))
    found = assess(judged, THRESHOLDS, COSTS, {"luck": noise})
    page = evaluation_page(found, about(protocol=("Labels are known at once.",)), figures(found))
    read = ReadPage(page.html())
    assert read.faults == []
    assert read.headings == [
        *("In short", "Thresholds", "Money", "Alerts a day", "Ranking", "Calibration"),
        *("Where it fails", "How this was judged"),
    ]
    assert read.tags["svg"] == 4
    for each in ("luck", "a<b>.csv", "tiny, version 1.0.0", "abcabcabcabc", "Labels are known"):
        assert each in read.text
    markdown = page.markdown()
    for table in (each for section in page.sections for each in section.tables):
        assert f"| {' | '.join(table.cells[0])} |" in markdown


def test_thresholds_of_the_configuration_are_told_apart() -> None:
    found = assess(some_events(), Thresholds(0.1, 0.2), COSTS)
    assert "what the configuration says" in evaluation_page(found, about(), {}).markdown()


def test_nothing_alerted_has_no_precision() -> None:
    judged = some_events()
    nothing = alerts_of(judged, NOTHING, NOTHING, COSTS)
    assert (nothing.precision, nothing.recall, nothing.saved) == (None, 0.0, 0.0)


def test_baselines_learn_from_the_training_events_only() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4_000, 3)).astype(np.float32)
    fraud = features[:, 0] + 0.3 * rng.normal(size=4_000) > 1.5
    first = np.arange(4_000) < 3_000
    found = baselines(features, fraud, first, ~first)
    assert list(found) == ["logistic regression", "gradient-boosted trees"]
    for scores in found.values():
        assert scores.shape == (1_000,)
        assert roc_auc_score(fraud[~first], scores) > 0.95
    hidden = np.where(first, fraud, ~fraud)
    again = baselines(features, hidden, first, ~first)
    assert all((again[name] == scores).all() for name, scores in found.items())
