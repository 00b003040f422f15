"""The features of shared entities against plain references."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import ConfigError
from engine.manifest import ReasonGroup
from engine.shared import Measure, Quantity, SharedEntity, Source
from models.config import Part, ScorerConfig
from models.data import account_hashes, by_account, feature_table
from models.features.registry import build_feature
from models.scorer import Scorer
from tests.models.tools import CONFIG, DAY_MS, SCHEMA, batch, planted_history, zeros

HALF_DAY_MS = DAY_MS // 2
TERMINAL = SharedEntity(
    name="shop",
    field="terminal",
    bucket_s=43_200,
    buckets=28,
    grace_s=3_600,
    quantities=(
        Quantity("events", Source.EVENT, Measure.COUNT),
        Quantity("known", Source.LABEL, Measure.COUNT),
        Quantity("frauds", Source.LABEL, Measure.POSITIVE),
        Quantity("small_frauds", Source.LABEL, Measure.POSITIVE, 60.0),
    ),
)
DAYS = (14.0, 0.5, 7.0)
PARTS = (
    Part("entity_windows", {"entity": "shop", "quantities": ("frauds", "events"), "days": DAYS}),
    Part(
        "entity_rates",
        {"entity": "shop", "positives": "frauds", "known": "known", "days": DAYS, "weight": 2.0},
    ),
    Part("entity_recency", {"entity": "shop", "positives": "frauds", "known": "known"}),
    Part("entity_windows", {"entity": "shop", "quantities": ("small_frauds",), "days": (14.0,)}),
)


OUTBREAK = Part(
    "entity_outbreak",
    {"entity": "shop", "evidence": {"known": -2.0, "frauds": 3.0}, "days": 10.0, "delay_days": 3.0},
)


def scorer_config() -> ScorerConfig:
    parts = (*PARTS[:3], OUTBREAK, Part("clock"))
    reasons = (*CONFIG.scorer.reasons, ReasonGroup("shop", "This shop has frauds."))
    names = {each.name: each for each in reasons}
    return replace(
        CONFIG.scorer, features=parts, omit=(), shared=(TERMINAL,), reasons=tuple(names.values())
    )


SCORER = Scorer(SCHEMA, scorer_config()).eval()
COLUMNS = [each.name for each in SCORER.outputs][:-6]


def plain_columns(buckets: NDArray[np.float32]) -> list[float]:
    """The columns of the first three parts, from one entity's buckets ``[28, 4]``."""
    events, known, frauds = (buckets[:, at].astype(float).tolist() for at in range(3))
    counts = [round(2 * each) for each in DAYS]
    sums = {
        name: [max(sum(each[:n]), 0.0) for n in counts]
        for name, each in (("events", events), ("known", known), ("frauds", frauds))
    }
    pairs = zip(sums["frauds"], sums["known"], strict=True)
    rates = [(p + 2 * 0.01) / (k + 2) for p, k in pairs]
    outbreak = plain_outbreak(known, frauds)
    return [*sums["frauds"], *sums["events"], *rates, *plain_recency(known, frauds), outbreak]


def plain_outbreak(known: list[float], frauds: list[float]) -> float:
    """Ten days from one of the edges of the buckets and of the three days without labels."""
    now = past = 0.0
    for edge in range(1, 28 + 6 + 1):
        began = edge / 2
        shift = 0.0
        for at, (labels, positives) in enumerate(zip(known, frauds, strict=True)):
            age = at / 2 + 0.25 + 3
            shift += (3 * positives - 2 * labels) if began - 10 < age < began else 0.0
        likely = 2e-4 / 2 * math.exp(min(max(shift, -40.0), 40.0))
        now, past = (now + likely, past) if began <= 10 else (now, past + likely)
    return math.log(now / (1 + past))


def plain_recency(known: list[float], frauds: list[float]) -> list[float]:
    since_fraud = since_genuine = 14.0
    run_age = run = 0.0
    for at, (labels, positives) in enumerate(zip(known, frauds, strict=True)):
        age = at / 2 + 0.25
        if labels - positives > 0 and since_genuine == 14.0:
            since_genuine = age
        if positives > 0:
            since_fraud = min(since_fraud, age)
            if since_genuine == 14.0:
                run_age, run = age, run + positives
    return [since_fraud, since_genuine, min(since_fraud, since_genuine), run_age, run]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 2.0), st.floats(0.0, 1.0))
def test_every_column_is_that_of_the_plain_reference(seed: int, rate: float, share: float) -> None:
    rng = np.random.default_rng(seed)
    known = rng.poisson(rate, (5, 28))
    frauds = rng.binomial(known, share) - (rng.random((5, 28)) < 0.05)
    events, small = rng.poisson(rate, (2, 5, 28))
    buckets = np.stack((events, known, frauds, small), axis=2).astype(np.float32)
    shops = batch([1] * 5, [DAY_MS] * 5, [1] * 5, [1.0] * 5)
    given_buckets = {"shared_shop": torch.from_numpy(buckets)}
    found, _, _ = SCORER.features(shops, zeros(SCORER, 5), given_buckets)
    wanted = [plain_columns(each) for each in buckets]
    np.testing.assert_allclose(found.numpy()[:, : len(COLUMNS)], wanted, rtol=1e-5, atol=1e-5)


def test_a_history_gives_each_event_what_was_known_before_its_closed_buckets() -> None:
    columns, labels = planted_history(accounts=12, days=30)
    labels[::5] = np.nan
    times, shops = columns.event_time_ms, columns.values["terminal"]
    delay_ms = 3 * DAY_MS
    histories = by_account(account_hashes(columns, SCHEMA))
    table = feature_table(SCORER, columns, histories, labels, delay_ms).columns.numpy()
    known_ms = times + delay_ms
    for row in range(0, len(times), 7):
        end = (times[row] - 3_600_000) // HALF_DAY_MS * HALF_DAY_MS
        start = end - 14 * DAY_MS
        same = shops == shops[row]
        labelled = same & (known_ms >= start) & (known_ms < end)
        happened = same & (times >= start) & (times < end)
        assert table[row, COLUMNS.index("shop_frauds_14d")] == (labels[labelled] > 0.5).sum()
        assert table[row, COLUMNS.index("shop_events_14d")] == happened.sum()


def test_a_label_comes_later_than_a_week_and_a_repeat_counts_once() -> None:
    columns, labels = planted_history(accounts=3, days=20)
    twice = np.repeat(np.arange(len(columns)), 2)
    histories = by_account(account_hashes(columns, SCHEMA))
    once = feature_table(SCORER, columns, histories, labels, DAY_MS)
    again = columns.take(twice)
    both = by_account(account_hashes(again, SCHEMA))
    repeated = feature_table(SCORER, again, both, labels[twice], DAY_MS)
    assert repeated.duplicate.tolist() == [False, True] * len(columns)
    assert torch.equal(repeated.columns[::2], once.columns)


def test_what_becomes_known_later_changes_no_earlier_row() -> None:
    columns, labels = planted_history(accounts=10, days=30)
    histories = by_account(account_hashes(columns, SCHEMA))
    one = feature_table(SCORER, columns, histories, labels, 2 * DAY_MS).columns
    middle = int(columns.event_time_ms[len(labels) // 2])
    changed = np.where(columns.event_time_ms + 2 * DAY_MS >= middle, 1.0 - labels, labels)
    other = feature_table(SCORER, columns, histories, changed.astype(np.float32), 2 * DAY_MS)
    before = torch.from_numpy(columns.event_time_ms <= middle)
    assert torch.equal(one[before], other.columns[before])
    assert not torch.equal(one, other.columns)


@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        ("entity_windows", {"entity": "shpo", "quantities": ("frauds",)}, "'shpo'"),
        ("entity_windows", {"entity": "shop", "quantities": ("fraud",)}, "'fraud'"),
        ("entity_windows", {"entity": "shop", "quantities": ("frauds",), "days": (30,)}, "28"),
        ("entity_windows", {"entity": "shop", "quantities": ("frauds",), "days": (0.7,)}, "0.7"),
        (
            "entity_rates",
            {"entity": "shop", "positives": "frauds", "known": "known", "weight": 0, "days": (7,)},
            "weight",
        ),
        ("entity_outbreak", {"entity": "shop", "evidence": {}}, "evidence"),
        ("entity_outbreak", {"entity": "shop", "evidence": {"fraud": 1.0}}, "'fraud'"),
        (
            "entity_outbreak",
            {"entity": "shop", "evidence": {"frauds": 1.0}, "a_day": 0},
            "a_day",
        ),
    ],
)
def test_options_that_do_not_fit_the_entity_are_refused(
    name: str, options: dict[str, Any], found: str
) -> None:
    with pytest.raises(ConfigError, match=found):
        build_feature(name, options, (TERMINAL,))
