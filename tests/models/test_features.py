"""Each feature against its plain reference, on streams that are not well-behaved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.shared import Measure, Quantity, SharedEntity, Source
from models.config import Part
from models.features.registry import FEATURES, build_feature
from models.scorer import Scorer
from tests.models import reference as plain
from tests.models.tools import CONFIG, DAY_MS, SCHEMA, START_MS, zeros

HIGH = ((2.5, 3.0), (2.5, 14.0), (3.5, 14.0))
DECAYS = (5.0, 14.0)
DAYS = (7.0, 30.0)
HOURS = (0.25, 1.0, 24.0, 168.0, 720.0)
LIMITS = (220.0,)
NIGHT = 7.0
SLOTS = 8
CUTS = (10.0, 30.0)
ACCOUNT = (
    Part("amount", {"limits": LIMITS}),
    Part("clock", {"night_until": NIGHT}),
    Part("recency"),
    Part("windows", {"hours": HOURS}),
    Part("maxima", {"hours": HOURS}),
    Part("counterparties", {"hours": HOURS, "slots": SLOTS}),
    Part("novelty"),
    Part("combinations", {"band_h": 6.0, "amounts": CUTS}),
    Part("spread", {"prior": 40.0, "high": HIGH, "decay_days": DECAYS, "days": DAYS}),
)

GAPS_MS = st.one_of(
    st.just(0),
    st.integers(0, 2 * 3_600_000),
    st.integers(0, 3 * DAY_MS),
    st.integers(0, 90 * DAY_MS),
    st.just(365 * DAY_MS),
    st.integers(-50 * DAY_MS, 0),
)


@st.composite
def streams(draw: st.DrawFn) -> list[plain.Event]:
    """One account's events: equal times, long gaps, late events, repeated ids; 1 to 200."""
    length = draw(st.one_of(st.integers(1, 20), st.integers(20, 200)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    gaps = draw(st.lists(GAPS_MS, min_size=1, max_size=12))
    now_ms, events = START_MS + int(rng.integers(0, DAY_MS)), []
    for at in range(length):
        gap = gaps[int(rng.integers(len(gaps)))]
        if gap >= 0:
            now_ms += gap
        terminal = (int(rng.integers(-3, 3)) << 60) + int(rng.integers(0, 20))
        value = float(np.float32(rng.lognormal(3.0, 1.0)))
        event = plain.Event(at + 1, now_ms + min(gap, 0), value, terminal)
        events.append(events[-1] if events and rng.random() < 0.1 else event)
    return events


def columns_of(scorer: Scorer, events: list[plain.Event]) -> np.ndarray[Any, Any]:
    state, rows = zeros(scorer, 1), []
    with torch.inference_mode():
        for each in events:
            row = {
                "event_id": torch.tensor([each.event_id]),
                "event_time": torch.tensor([each.time_ms]),
                "terminal": torch.tensor([each.terminal]),
                "amount": torch.tensor([each.amount], dtype=torch.float32),
            }
            columns, duplicate, state = scorer.features(row, state, {})
            rows.append([float(duplicate[0]), *columns[0].tolist()])
    return np.array(rows)


def expected(events: list[plain.Event]) -> np.ndarray[Any, Any]:
    known, rows = plain.Known(), []
    for each in events:
        repeat = plain.is_repeat(known, each)
        row = [
            *plain.amount(known, each, LIMITS),
            *plain.clock(each, NIGHT),
            *plain.recency(known, each),
            *plain.windows(known, each, HOURS),
            *plain.maxima(known, each, HOURS),
            *plain.counterparties(known, each, HOURS, SLOTS),
            *plain.novelty(known, each),
            *plain.combinations(known, each, 6.0, CUTS),
            *plain.spread(known, each, HIGH, DECAYS),
            *plain.unusual_days(known, each, DAYS, HIGH[0][0], 1 / 3, 6e-4),
        ]
        rows.append([float(repeat), *row])
        if not repeat:
            plain.accept(known, each, DECAYS, SLOTS)
    return np.array(rows, dtype=np.float64)


TERMINAL = SharedEntity(
    name="terminal",
    field="terminal",
    bucket_s=21_600,
    buckets=120,
    grace_s=3_600,
    quantities=(
        Quantity("known", Source.LABEL, Measure.COUNT),
        Quantity("frauds", Source.LABEL, Measure.POSITIVE),
    ),
)
ENTITY_OPTIONS: dict[str, dict[str, Any]] = {
    "entity_windows": {"entity": "terminal", "quantities": ["known"]},
    "entity_outbreak": {"entity": "terminal", "evidence": {"frauds": 2.0}},
    "entity_rates": {"entity": "terminal", "positives": "frauds", "known": "known"},
    "entity_recency": {"entity": "terminal", "positives": "frauds", "known": "known"},
}
OPTIONS = {**ENTITY_OPTIONS, "numbers": {"fields": ["fee"]}}
SCORER = Scorer(
    SCHEMA, replace(CONFIG.scorer, features=ACCOUNT, shared=(), omit=(), counterparty="terminal")
).eval()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(streams())
def test_every_column_is_that_of_the_plain_reference(events: list[plain.Event]) -> None:
    compare(events)


@pytest.mark.slow
def test_ten_thousand_events_of_one_account_are_as_the_plain_reference_has_them() -> None:
    rng = np.random.default_rng(5)
    times = START_MS + np.cumsum(rng.exponential(2 * 3_600_000, 10_000)).astype(int)
    amounts = np.float32(rng.lognormal(3.0, 1.0, 10_000)).tolist()
    places = rng.integers(0, 40, 10_000).tolist()
    rows = zip(range(1, 10_001), times.tolist(), amounts, places, strict=True)
    compare([plain.Event(*row) for row in rows])


def compare(events: list[plain.Event]) -> None:
    found, wanted = columns_of(SCORER, events), expected(events)
    names = ["duplicate", *(each.name for each in SCORER.outputs)]
    assert found.shape == wanted.shape
    for at, name in enumerate(names):
        np.testing.assert_allclose(found[:, at], wanted[:, at], rtol=2e-4, atol=2e-3, err_msg=name)


def test_a_window_that_the_ring_covers_is_exact() -> None:
    events = [plain.Event(at, START_MS + at * 6 * 3_600_000, 10.0 + at, 1) for at in range(1, 200)]
    names = [each.name for each in SCORER.outputs]
    found = columns_of(SCORER, events)[:, 1:]
    truth = [
        sum(at - other > 0 and (at - other) * 6 < 24 for other in range(1, 200))
        for at in range(1, 200)
    ]
    assert found[:, names.index("count_24h")].tolist() == truth


def test_a_window_beyond_the_ring_is_off_by_less_than_its_boundary_day() -> None:
    events = [plain.Event(at, START_MS + at * 3 * 3_600_000, 1.0, 1) for at in range(1, 400)]
    names = [each.name for each in SCORER.outputs]
    found = columns_of(SCORER, events)[:, 1 + names.index("count_720h")]
    truth = np.minimum(np.arange(399), 239)
    assert np.abs(found - truth).max() <= 8


def test_a_largest_amount_beyond_the_ring_lies_between_the_windows_and_a_day_more() -> None:
    rng = np.random.default_rng(2)
    amounts = np.float32(rng.lognormal(3.0, 1.0, 600)).tolist()
    events = [
        plain.Event(at + 1, START_MS + at * 5_000_000, value, 1) for at, value in enumerate(amounts)
    ]
    names = [each.name for each in SCORER.outputs]
    found = columns_of(SCORER, events)[:, 1 + names.index("max_168h")]
    for at in range(1, 600):
        ages_ms = np.arange(at, 0, -1) * 5_000_000
        least = max(np.array(amounts[:at])[ages_ms < 7 * DAY_MS])
        most = max(np.array(amounts[:at])[ages_ms < 8 * DAY_MS])
        assert least <= found[at] <= most


def test_the_estimated_number_of_counterparties_is_as_good_as_is_said() -> None:
    slots, kinds = 32, 30
    parts = (Part("counterparties", {"slots": slots}),)
    config = replace(CONFIG.scorer, features=parts, shared=(), omit=(), counterparty="terminal")
    scorer = Scorer(SCHEMA, config).eval()
    rng = np.random.default_rng(3)
    shops = rng.integers(-(2**62), 2**62, (40, kinds))
    state = zeros(scorer, 40)
    for at in range(kinds + 1):
        row = {
            "event_id": torch.full((40,), at + 1),
            "event_time": torch.full((40,), START_MS + at * 600_000),
            "terminal": torch.from_numpy(shops[:, at % kinds].copy()),
            "amount": torch.ones(40),
        }
        columns, _, state = scorer.features(row, state, {})
    share = kinds / slots
    error = np.sqrt(slots * (np.exp(share) - share - 1))
    away = columns[:, 0].numpy() - kinds
    assert abs(away.mean()) < 3 * error / np.sqrt(40) + 1
    assert np.sqrt((away**2).mean()) < 1.5 * error


def test_every_registered_feature_declares_what_it_makes() -> None:
    for name in FEATURES:
        feature = build_feature(name, OPTIONS.get(name, {}), (TERMINAL,))
        outputs = [each.name for each in feature.outputs]
        assert len(set(outputs)) == len(outputs) > 0


@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        ("amuont", {}, "'amuont'"),
        ("clock", {"nigth": 3}, "nigth"),
        ("windows", {"hours": [2000]}, "2000"),
        ("numbers", {"fields": "fee"}, "'fee'"),
    ],
)
def test_what_does_not_exist_is_refused(name: str, options: dict[str, Any], found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        build_feature(name, options)
