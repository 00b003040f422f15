"""The market pack's committed bundle, through the core alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from engine.columns import Reason
from engine.offline import OfflineScorer, ScoredBatch
from tests.packs.tools import answers, bundle_of, offline_of, score

START = datetime(2026, 1, 5, 21, tzinfo=UTC)
OUTPUTS = ("q01", "q05", "q50", "q95", "q99", "volatility", "probability_up", "realised")
CALM, VOLATILE, BREACH = range(3)


def bar(day: float, close: float, security: str = "A", **changes: Any) -> dict[str, Any]:
    time = START + timedelta(days=day)
    return {
        "bar_id": f"{security}-{day}",
        "time": time.isoformat(),
        "security": security,
        "market": "test",
        "close": close,
    } | changes


def quiet(days: int, security: str = "A", seed: int = 0) -> list[dict[str, Any]]:
    """Bars of a security whose returns have a standard deviation of 1 %."""
    returns = np.random.default_rng(seed).normal(0.0, 0.01, days)
    closes = 100.0 * np.exp(np.cumsum(returns))
    return [bar(day, close, security) for day, close in enumerate(closes.tolist())]


def outputs_of(batch: ScoredBatch) -> dict[str, list[float]]:
    names = bundle_of("market").manifest.outputs
    found = batch.scored.outputs
    assert found is not None
    return dict(zip(names, found.T.tolist(), strict=True))


def after(history: list[dict[str, Any]], *events: dict[str, Any]) -> ScoredBatch:
    """The answers to events that follow a history."""
    offline = offline_of("market")
    score(offline, history)
    return score(offline, events)


def test_quantiles_never_cross_whatever_comes() -> None:
    rng = np.random.default_rng(1)
    events = []
    for security in range(12):
        closes = np.exp(np.cumsum(rng.standard_t(2, 60) * 10.0 ** rng.uniform(-3, 0)))
        days = np.cumsum(rng.choice([1, 1, 1, 3, 4, 45, 0.1], 60))
        events += [
            bar(float(day), float(close) * 100, f"S{security}")
            for day, close in zip(days, closes, strict=True)
        ]
    batch = score(offline_of("market"), events)
    assert not batch.rejects
    found = outputs_of(batch)
    quantiles = np.array([found[name] for name in OUTPUTS[:5]])
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=0) > 0).all()
    assert min(found["volatility"]) > 0
    assert 0 < min(found["probability_up"]) <= max(found["probability_up"]) < 1
    assert batch.scored.scores.tolist() == pytest.approx([max(-q, 0) for q in found["q01"]])


def test_a_security_never_seen_is_forecast_from_what_is_usual() -> None:
    batch = after([], bar(0, 50.0))
    found = outputs_of(batch)
    assert (found["realised"], found["shortfall"]) == ([0.0], [0.0])
    assert 0.1 < found["volatility"][0] < 0.8
    assert found["q01"][0] < found["q05"][0] < 0 < found["q95"][0] < found["q99"][0]


def test_volatility_follows_the_securitys_own() -> None:
    calm, wild = quiet(120), quiet(120, "B", seed=1)
    wild = [each | {"close": 100 * (each["close"] / 100) ** 4} for each in wild]
    found = outputs_of(score(offline_of("market"), [*calm, *wild]))["volatility"]
    assert 2 * np.mean(found[60:120]) < np.mean(found[180:])


def test_a_loss_beyond_yesterdays_quantile_is_a_breach_with_its_size() -> None:
    history = quiet(60)
    offline = offline_of("market")
    before = outputs_of(score(offline, history))
    crash = bar(60, history[-1]["close"] * 0.9)
    batch = score(offline, [crash])
    found = outputs_of(batch)
    assert found["realised"][0] == pytest.approx(np.log(0.9), rel=1e-4)
    assert found["shortfall"][0] == pytest.approx(before["q01"][-1] - np.log(0.9), rel=1e-4)
    assert batch.scored.decisions.tolist() == [BREACH]
    assert batch.scored.reasons[0]
    assert found["volatility"][0] > before["volatility"][-1]
    ordinary = score(offline, [bar(61, crash["close"] * 1.001)])
    assert outputs_of(ordinary)["shortfall"] == [0.0]


def test_the_limit_of_the_volatility_is_the_configurations() -> None:
    history = quiet(60)
    usual = score(offline_of("market"), history)
    assert set(usual.scored.decisions.tolist()) <= {CALM, BREACH}
    strict = score(offline_of("market", limits={"volatility": 0.0}), history)
    assert set(strict.scored.decisions.tolist()) <= {VOLATILE, BREACH}
    assert answers(strict) == answers(usual)


def test_a_split_that_is_said_is_no_loss() -> None:
    history = quiet(60)
    half = bar(60, history[-1]["close"] / 2, split=2.0)
    batch = after(history, half)
    assert outputs_of(batch)["realised"][0] == pytest.approx(0.0, abs=1e-6)
    assert batch.scored.decisions.tolist() == [CALM]


def test_a_jump_that_is_not_adjusted_is_a_breach_and_does_not_stay() -> None:
    history = quiet(60)
    price = history[-1]["close"] / 2
    batch = after(history, bar(60, price), *(bar(61 + day, price) for day in range(40)))
    found = outputs_of(batch)
    assert batch.scored.decisions.tolist()[0] == BREACH
    assert found["realised"][0] == pytest.approx(np.log(0.5), rel=1e-4)
    assert max(found["volatility"]) < 2.0
    assert found["volatility"][40] < found["volatility"][0] / 2
    assert set(batch.scored.decisions.tolist()[1:]) <= {CALM, VOLATILE}


@pytest.mark.parametrize("close", [0.0, -5.0])
def test_a_price_of_nothing_or_less_is_refused_and_changes_nothing(close: float) -> None:
    offline = offline_of("market")
    score(offline, quiet(10))
    before = offline.state("A")
    batch = score(offline, [bar(10, close)])
    assert [each.reason for each in batch.rejects] == [Reason.BELOW_MINIMUM]
    assert offline.state("A") == before


def test_a_holiday_is_one_step_and_a_long_gap_is_none() -> None:
    history = quiet(60)
    price = history[-1]["close"] * 0.98
    holiday = after(history, bar(63, price))
    assert outputs_of(holiday)["realised"][0] == pytest.approx(np.log(0.98), rel=1e-4)
    gap = after(history, bar(120, price * 0.5), bar(121, price * 0.5 * 0.98))
    found = outputs_of(gap)
    assert (found["realised"][0], found["shortfall"][0]) == (0.0, 0.0)
    assert found["realised"][1] == pytest.approx(np.log(0.98), rel=1e-4)


def same_state(offline: OfflineScorer, event: dict[str, Any]) -> ScoredBatch:
    """Score an event after a history of A, and check that nothing comes of it."""
    history = quiet(60)
    plain = offline_of("market")
    score(plain, history)
    score(offline, history)
    batch = score(offline, [event])
    later = bar(60, history[-1]["close"] * 0.99)
    assert answers(score(offline, [later])) == answers(score(plain, [later]))
    return batch


def test_a_repeated_bar_has_its_first_answer_and_changes_nothing() -> None:
    offline = offline_of("market")
    batch = same_state(offline, quiet(60)[-1])
    assert batch.scored.duplicate.tolist() == [True]
    expected = answers(score(offline_of("market"), quiet(60)))[-1]
    assert answers(batch)[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("day", [57.0, 59.2], ids=["an earlier day", "the same day"])
def test_a_bar_out_of_order_is_scored_and_changes_nothing(day: float) -> None:
    batch = same_state(offline_of("market"), bar(day, 12.0, bar_id="another"))
    assert batch.scored.late.tolist() == [True]
    assert np.isfinite(answers(batch)).all()


def test_other_securities_are_known_up_to_yesterday() -> None:
    mine = quiet(60)
    others = {security: quiet(60, security, seed=ord(security)) for security in "BCDEF"}
    history = sorted(
        [*mine, *(each for own in others.values() for each in own)], key=lambda each: each["time"]
    )

    def volatility(fall: float) -> list[float]:
        shocks = [bar(60, own[-1]["close"] * (1 - fall), each) for each, own in others.items()]
        price = mine[-1]["close"]
        batch = after(history, *shocks, bar(60, price), bar(61, price))
        return outputs_of(batch)["volatility"][5:]

    (today, tomorrow), (same, higher) = volatility(0.0), volatility(0.05)
    assert today == same
    assert tomorrow < higher
