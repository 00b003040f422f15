from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bundle import Bundle
from engine.errors import BundleError
from engine.manifest import Thresholds
from engine.scored import Scored
from engine.scorer import DECISIONS, Decision, Scorer
from engine.waves import index_accounts
from tests.bundles import LAYOUT, TinyReference
from tests.engine.tools import DAY_MS, NOW_MS, STREAMS, Paid, columns_of, pieces

_cuts = st.lists(st.integers(0, 40), max_size=12)


def score(scorer: Scorer, events: Sequence[Paid]) -> Scored:
    columns = columns_of(events)
    accounts, index = index_accounts(columns.accounts)
    return scorer.score(columns, scorer.layout.zeros(len(accounts)), index)


def score_in_batches(
    scorer: Scorer, events: Sequence[Paid], cuts: Sequence[int]
) -> tuple[list[float], list[bool], list[bool], dict[str, bytes]]:
    """Score a stream as a worker does: the states go out and come back as bytes."""
    scores: list[float] = []
    duplicate: list[bool] = []
    late: list[bool] = []
    stored: dict[str, bytes] = {}
    for piece in pieces(len(events), cuts):
        columns = columns_of(events[piece])
        accounts, index = index_accounts(columns.accounts)
        states = LAYOUT.decode([stored.get(account) for account in accounts])
        scored = scorer.score(columns, states, index)
        stored |= dict(zip(accounts, LAYOUT.encode(scored.states), strict=True))
        scores += scored.scores.tolist()
        duplicate += scored.duplicate.tolist()
        late += scored.late.tolist()
    return scores, duplicate, late, stored


@given(STREAMS, _cuts)
def test_any_cut_of_a_stream_scores_as_one_event_at_a_time(
    scorer: Scorer, events: list[Paid], cuts: list[int]
) -> None:
    reference = TinyReference()
    expected = reference.score(columns_of(events))
    *results, stored = score_in_batches(scorer, events, cuts)
    assert results[0] == pytest.approx(expected[0], abs=1e-5)
    assert (results[1], results[2]) == expected[1:]
    assert stored.keys() == reference.int64.keys()
    for account, value in stored.items():
        state = LAYOUT.decode([value])[0]
        assert state["int64"].tolist() == reference.int64[account].tolist()
        assert state["float32"] == pytest.approx(reference.float32[account], rel=1e-5, abs=1e-5)


@given(STREAMS, _cuts, _cuts)
def test_two_cuts_of_a_stream_end_in_the_same_states(
    scorer: Scorer, events: list[Paid], one: list[int], other: list[int]
) -> None:
    *_, stored = score_in_batches(scorer, events, one)
    *_, again = score_in_batches(scorer, events, other)
    assert stored.keys() == again.keys()
    for account, value in stored.items():
        left, right = LAYOUT.decode([value, again[account]])
        assert left["int64"].tolist() == right["int64"].tolist()
        assert left["float32"] == pytest.approx(right["float32"], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("accounts", [["a"], ["a", "b", "c"]])
def test_the_given_states_stay_as_they_are(scorer: Scorer, accounts: list[str]) -> None:
    first = score(scorer, [Paid("e0", account, NOW_MS, 5.0) for account in accounts])
    before = first.states.tobytes()
    columns = columns_of([Paid("e1", account, NOW_MS, 9.0) for account in accounts])
    _, index = index_accounts(columns.accounts)
    after = scorer.score(columns, first.states, index).states
    assert first.states.tobytes() == before
    assert after.tobytes() != before


def test_states_of_accounts_without_events_are_refused(scorer: Scorer) -> None:
    columns = columns_of([Paid("e0", "b", NOW_MS, 5.0)])
    with pytest.raises(ValueError, match=r"have a state for each of the 1 accounts, however: 3"):
        scorer.score(columns, scorer.layout.zeros(3), np.array([0]))
    with pytest.raises(ValueError, match="numbered 0, 1, 2 by their first events"):
        scorer.score(columns, scorer.layout.zeros(3), np.array([1]))


def test_a_batch_without_events_is_scored(scorer: Scorer) -> None:
    scored = score(scorer, [])
    assert scored.scores.shape == scored.decisions.shape == scored.duplicate.shape == (0,)
    assert scored.states.shape == (0,)
    assert scored.reasons == {}


def test_the_results_have_the_types_they_promise(scorer: Scorer) -> None:
    scored = score(scorer, [Paid("e0", "a", NOW_MS, 5.0)])
    assert scored.scores.dtype == np.float32
    assert scored.decisions.dtype == np.int64
    assert scored.duplicate.dtype == scored.late.dtype == np.bool_
    assert scored.states.dtype == LAYOUT.record


def test_late_is_more_than_a_day_before_the_last(scorer: Scorer) -> None:
    times = [NOW_MS - 1, NOW_MS - 1 - DAY_MS, NOW_MS - 2 - DAY_MS, NOW_MS, NOW_MS - 1]
    events = [Paid(f"e{at}", "a", time_ms, 1.0) for at, time_ms in enumerate(times)]
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
    events = [Paid(f"e{at}", "a", NOW_MS, 10.0**at) for at in range(6)]
    strict = score(Scorer(bundle, thresholds=Thresholds(0.0, 0.0)), events)
    usual = score(scorer, events)
    assert strict.scores.tolist() == usual.scores.tolist()
    assert [DECISIONS[at] for at in strict.decisions] == ["decline"] * 6
    assert sorted(strict.reasons) == list(range(6))
    assert set(usual.decisions.tolist()) == {0, 1, 2}


@given(STREAMS)
def test_reasons_are_given_for_alerts_that_are_no_duplicates(
    scorer: Scorer, events: list[Paid]
) -> None:
    scored = score(scorer, events)
    alerted = (scored.decisions > 0) & ~scored.duplicate
    assert sorted(scored.reasons) == np.flatnonzero(alerted).tolist()
    for place, contributions in scored.reasons.items():
        moves = [each.log_odds for each in contributions]
        assert moves == sorted(moves, reverse=True)
        assert {each.group.name for each in contributions} == {"amount", "history"}
        # This model's contributions add up to its log-odds less -4, so they are those of the
        # state that the event met, and not of a later one.
        score_again = 1 / (1 + np.exp(4 - sum(moves)))
        assert score_again == pytest.approx(scored.scores[place].item(), abs=1e-5)


def test_a_duplicate_repeats_the_decision_without_reasons(scorer: Scorer) -> None:
    event = Paid("e0", "a", NOW_MS, 1e6)
    scored = score(scorer, [event, event])
    assert scored.scores[0] == scored.scores[1]
    assert scored.decisions[0] == scored.decisions[1] == 2
    assert scored.duplicate.tolist() == [False, True]
    assert sorted(scored.reasons) == [0]


@pytest.mark.parametrize(("review", "decline"), [(-0.1, 0.5), (0.6, 0.5), (0.5, 1.1)])
def test_impossible_thresholds_are_refused(review: float, decline: float) -> None:
    with pytest.raises(BundleError, match="review <= decline"):
        Thresholds(review, decline)


def test_the_order_within_an_account_matters_and_across_accounts_does_not(scorer: Scorer) -> None:
    mixed = [Paid("1", "a", NOW_MS, 10.0), Paid("2", "b", NOW_MS, 900.0)]
    mixed += [Paid("3", "a", NOW_MS, 700.0), Paid("4", "b", NOW_MS, 20.0)]
    apart = [*mixed[::2], *mixed[1::2]]
    one, other = _by_id(mixed, score(scorer, mixed)), _by_id(apart, score(scorer, apart))
    assert one == other
    assert _by_id(mixed[::-1], score(scorer, mixed[::-1])) != one


def _by_id(events: Sequence[Paid], scored: Scored) -> dict[str, float]:
    pairs = zip(events, scored.scores.tolist(), strict=True)
    return {event.event_id: score for event, score in pairs}
