from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.bundle import Bundle
from engine.columns import Columns
from engine.decode import Decoder
from engine.errors import BundleError
from engine.manifest import Thresholds
from engine.scorer import DECISIONS, Decision, Scored, Scorer
from engine.waves import index_accounts
from tests.bundles import (
    BIAS,
    LAYOUT,
    PER_AMOUNT,
    REVIEW,
    SCHEMA,
    TinyReference,
    TinyResult,
    tiny_bundle,
    tiny_event,
)

START_MS = 1_767_225_600_000  # 2026-01-01
DAY_MS = 86_400_000
DECODER = Decoder(SCHEMA)


@dataclass(frozen=True)
class Event:
    event_id: str
    account: str
    time_ms: int
    amount: float


# Few ids and few accounts, so that an account often meets an id again; a ring of 4 forgets some.
_events = st.builds(
    Event,
    event_id=st.sampled_from([f"e{at}" for at in range(12)]),
    account=st.sampled_from(["a", "b", "c"]),
    time_ms=st.one_of(
        st.integers(START_MS, START_MS + 4 * DAY_MS),
        st.sampled_from([START_MS, START_MS + DAY_MS, START_MS + DAY_MS + 1]),
    ),
    amount=st.integers(0, 60_000).map(lambda cents: cents / 100),
)
_cuts = st.lists(st.integers(0, 40), max_size=12)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(tiny_bundle(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def scorer(bundle: Bundle) -> Scorer:
    return Scorer(bundle)


def decode(events: Sequence[Event]) -> Columns:
    values = [tiny_event(e.event_id, e.account, e.time_ms, e.amount) for e in events]
    decoded = DECODER.decode(values, START_MS + 10 * DAY_MS)
    assert not decoded.rejects
    return decoded.columns


def score(scorer: Scorer, events: Sequence[Event]) -> Scored:
    columns = decode(events)
    accounts, index = index_accounts(columns.accounts)
    return scorer.score(columns, scorer.layout.zeros(len(accounts)), index)


def score_in_batches(
    scorer: Scorer, events: Sequence[Event], cuts: Sequence[int]
) -> tuple[list[TinyResult], dict[str, bytes]]:
    """Score a stream as a worker does: the states go out and come back as bytes."""
    results: list[TinyResult] = []
    stored: dict[str, bytes] = {}
    edges = sorted({0, len(events), *(cut for cut in cuts if cut < len(events))})
    for start, stop in zip(edges, edges[1:], strict=False):
        columns = decode(events[start:stop])
        accounts, index = index_accounts(columns.accounts)
        states = LAYOUT.decode([stored.get(account) for account in accounts])
        scored = scorer.score(columns, states, index)
        stored |= dict(zip(accounts, LAYOUT.encode(scored.states), strict=True))
        flags = zip(scored.scores, scored.duplicate, scored.late, strict=True)
        results += [TinyResult(float(s), bool(d), bool(late)) for s, d, late in flags]
    return results, stored


@given(st.lists(_events, max_size=40), _cuts)
def test_any_cut_of_a_stream_scores_as_one_event_at_a_time(
    scorer: Scorer, events: list[Event], cuts: list[int]
) -> None:
    reference = TinyReference()
    expected = [reference.score(e.event_id, e.account, e.time_ms, e.amount) for e in events]
    results, stored = score_in_batches(scorer, events, cuts)
    assert [(r.duplicate, r.late) for r in results] == [(e.duplicate, e.late) for e in expected]
    assert [r.score for r in results] == pytest.approx([e.score for e in expected], abs=1e-5)
    assert stored.keys() == reference.states.keys()
    for account, value in stored.items():
        found = LAYOUT.describe(LAYOUT.decode([value])[0])
        wanted = reference.described(account)
        assert found.pop("scores") == pytest.approx(wanted.pop("scores"), abs=1e-5)
        assert found == wanted


@given(st.lists(_events, max_size=40), _cuts, _cuts)
def test_two_cuts_store_the_same_bytes(
    scorer: Scorer, events: list[Event], one: list[int], other: list[int]
) -> None:
    assert score_in_batches(scorer, events, one)[1] == score_in_batches(scorer, events, other)[1]


@pytest.mark.parametrize("accounts", [["a"], ["a", "b", "c"]])
def test_the_given_states_stay_as_they_are(scorer: Scorer, accounts: list[str]) -> None:
    first = score(scorer, [Event("e0", account, START_MS, 5.0) for account in accounts])
    before = first.states.tobytes()
    columns = decode([Event("e1", account, START_MS + 1, 9.0) for account in accounts])
    _, index = index_accounts(columns.accounts)
    after = scorer.score(columns, first.states, index).states
    assert first.states.tobytes() == before
    assert after.tobytes() != before


def test_states_of_accounts_without_events_pass_through(scorer: Scorer) -> None:
    states = scorer.layout.zeros(3)
    states["float32"][:, 0] = [1, 2, 3]
    columns = decode([Event("e0", "b", START_MS, 5.0)])
    after = scorer.score(columns, states, np.array([1])).states
    assert after[[0, 2]].tobytes() == states[[0, 2]].tobytes()
    assert after["float32"][1, 0] == 3


def test_a_batch_without_events_is_scored(scorer: Scorer) -> None:
    scored = score(scorer, [])
    assert scored.scores.shape == scored.decisions.shape == scored.duplicate.shape == (0,)
    assert scored.states.shape == (0,)
    assert scored.reasons == {}


def test_the_results_have_the_types_they_promise(scorer: Scorer) -> None:
    scored = score(scorer, [Event("e0", "a", START_MS, 5.0)])
    assert scored.scores.dtype == np.float32
    assert scored.decisions.dtype == np.int64
    assert scored.duplicate.dtype == scored.late.dtype == np.bool_
    assert scored.states.dtype == LAYOUT.record


def test_late_is_more_than_a_day_before_the_last(scorer: Scorer) -> None:
    times = [START_MS + DAY_MS, START_MS, START_MS - 1, START_MS + 2 * DAY_MS, START_MS + DAY_MS]
    events = [Event(f"e{at}", "a", time_ms, 1.0) for at, time_ms in enumerate(times)]
    assert score(scorer, events).late.tolist() == [False, False, True, False, False]


def test_each_threshold_is_the_first_score_of_its_decision(scorer: Scorer) -> None:
    review, decline = np.float32(scorer.thresholds.review), np.float32(scorer.thresholds.decline)
    zero, one = np.float32(0), np.float32(1)
    scores = [
        *(zero, np.nextafter(review, zero), review),
        *(np.nextafter(decline, zero), decline, one),
    ]
    decided = scorer.decide(np.array(scores, dtype=np.float32))
    assert [DECISIONS[at] for at in decided.tolist()] == [
        *(Decision.APPROVE, Decision.APPROVE, Decision.REVIEW),
        *(Decision.REVIEW, Decision.DECLINE, Decision.DECLINE),
    ]


def test_equal_thresholds_leave_nothing_to_review(bundle: Bundle) -> None:
    scorer = Scorer(bundle, thresholds=Thresholds(0.5, 0.5))
    scores = np.array([0.25, 0.5, 0.75], dtype=np.float32)
    assert [DECISIONS[at] for at in scorer.decide(scores)] == ["approve", "decline", "decline"]


def test_given_thresholds_replace_the_bundles(bundle: Bundle, scorer: Scorer) -> None:
    events = [Event(f"e{at}", "a", START_MS, 100.0 * at) for at in range(6)]
    strict = score(Scorer(bundle, thresholds=Thresholds(0.0, 0.0)), events)
    usual = score(scorer, events)
    assert strict.scores.tolist() == usual.scores.tolist()
    assert [DECISIONS[at] for at in strict.decisions] == ["decline"] * 6
    assert sorted(strict.reasons) == list(range(6))
    assert set(usual.decisions.tolist()) == {0, 1, 2}


@given(st.lists(_events, max_size=40))
def test_reasons_are_given_for_alerts_that_are_no_duplicates(
    scorer: Scorer, events: list[Event]
) -> None:
    scored = score(scorer, events)
    alerted = (scored.decisions > 0) & ~scored.duplicate
    assert sorted(scored.reasons) == np.flatnonzero(alerted).tolist()
    for place, contributions in scored.reasons.items():
        moves = [each.log_odds for each in contributions]
        assert moves == sorted(moves, reverse=True)
        assert {each.group.name for each in contributions} == {"amount", "history"}
        # The contributions of this model add up to its log-odds: they are those of the state
        # that the event met, and not of a later one.
        odds = float(scored.scores[place]) / (1 - float(scored.scores[place]))
        assert sum(moves) + BIAS == pytest.approx(np.log(odds), abs=1e-3)
        by_name = {each.group.name: each.log_odds for each in contributions}
        assert by_name["amount"] == pytest.approx(PER_AMOUNT * events[place].amount, abs=1e-4)


def test_a_duplicate_repeats_the_decision_without_reasons(scorer: Scorer) -> None:
    event = Event("e0", "a", START_MS, 500.0)
    scored = score(scorer, [event, event])
    assert scored.scores[0] == scored.scores[1] >= REVIEW
    assert scored.decisions[0] == scored.decisions[1] == 2
    assert scored.duplicate.tolist() == [False, True]
    assert sorted(scored.reasons) == [0]


@pytest.mark.parametrize(("review", "decline"), [(-0.1, 0.5), (0.6, 0.5), (0.5, 1.1)])
def test_impossible_thresholds_are_refused(review: float, decline: float) -> None:
    with pytest.raises(BundleError, match="review <= decline"):
        Thresholds(review, decline)


def test_the_fixture_is_stateful(tmp_path: Path) -> None:
    scored = score(Scorer(Bundle.load(tiny_bundle(tmp_path))), _same_amounts(3))
    assert len(set(scored.scores.tolist())) == 3


def _same_amounts(n: int) -> list[Event]:
    return [Event(f"e{at}", "a", START_MS + at, 10.0) for at in range(n)]


def test_the_order_within_an_account_matters_and_across_accounts_does_not(scorer: Scorer) -> None:
    mixed = [Event("1", "a", START_MS, 10.0), Event("2", "b", START_MS, 900.0)]
    mixed += [Event("3", "a", START_MS, 700.0), Event("4", "b", START_MS, 20.0)]
    apart = [*mixed[::2], *mixed[1::2]]
    one, other = _by_id(mixed, score(scorer, mixed)), _by_id(apart, score(scorer, apart))
    assert one == other
    assert _by_id(mixed[::-1], score(scorer, mixed[::-1])) != one


def _by_id(events: Sequence[Event], scored: Scored) -> dict[str, Any]:
    scores: NDArray[np.float32] = scored.scores
    return {event.event_id: each for event, each in zip(events, scores.tolist(), strict=True)}
