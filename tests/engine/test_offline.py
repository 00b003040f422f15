from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from engine.columns import Reason
from engine.decode import Decoder
from engine.history import History
from engine.offline import OfflineScorer, ScoredBatch
from engine.scorer import Scorer
from tests.bundles import LAYOUT, SCHEMA, TinyReference
from tests.engine.tools import NOW_MS, STREAMS, Paid, columns_of, encoded, payment, pieces


@pytest.fixture
def history(tmp_path: Path) -> History:
    """1,500 accounts, more than the scorer has room for at first, and one line that is bad."""
    rng = np.random.default_rng(0)
    events = [
        Paid(f"t{rng.integers(3)}", f"a{at % 1_500}", NOW_MS - 3_000 + at, float(amount))
        for at, amount in enumerate(rng.lognormal(4, 2, 3_000).astype(np.float32))
    ]
    lines = encoded(events)
    lines.insert(1_000, orjson.dumps(payment(time="2026-01-31T11:59:58Z", amount=-1)))
    (tmp_path / "history.jsonl").write_bytes(b"\n".join(lines))
    return History.open(tmp_path / "history.jsonl", SCHEMA)


def score(scorer: Scorer, history: History, size: int) -> tuple[OfflineScorer, list[ScoredBatch]]:
    offline = OfflineScorer(Decoder(SCHEMA), scorer)
    return offline, [offline.score(each.values, NOW_MS) for each in history.chunks(size)]


def test_the_size_of_a_chunk_changes_no_score(scorer: Scorer, history: History) -> None:
    whole, (batch,) = score(scorer, history, 10_000)
    for size in (997, 64):
        offline, batches = score(scorer, history, size)
        for name in ("scores", "decisions", "duplicate", "late"):
            parts = [getattr(each.scored, name) for each in batches]
            assert_allclose(np.concatenate(parts), getattr(batch.scored, name), atol=1e-5)
        assert sum(len(each.scored.reasons) for each in batches) == len(batch.scored.reasons) > 0
        assert list(offline.accounts) == list(whole.accounts)
        assert len(list(offline.accounts)) == 1_500
    assert batch.scored.duplicate.any()


def test_a_bad_event_is_a_reject_of_its_batch(scorer: Scorer, history: History) -> None:
    _, batches = score(scorer, history, 100)
    found = [(at, reject) for at, each in enumerate(batches) for reject in each.rejects]
    ((at, reject),) = found
    assert reject.reason is Reason.BELOW_MINIMUM
    assert 100 * at + reject.row == 1_000
    assert len(batches[at].columns) == len(batches[at].scored.scores) == 99


@given(events=STREAMS, cuts=st.lists(st.integers(0, 40), max_size=4))
def test_states_are_those_of_events_one_by_one(
    scorer: Scorer, events: list[Paid], cuts: list[int]
) -> None:
    reference = TinyReference()
    scores, *_ = reference.score(columns_of(events))
    offline = OfflineScorer(Decoder(SCHEMA), scorer)
    values = encoded(events)
    batches = [offline.score(values[piece], NOW_MS) for piece in pieces(len(values), cuts)]

    assert_allclose(np.concatenate([each.scored.scores for each in batches]), scores, atol=1e-5)
    assert set(offline.accounts) == set(reference.int64)
    for account in offline.accounts:
        (state,) = LAYOUT.decode([offline.state(account)])
        assert_array_equal(state["int64"], reference.int64[account])
        assert_allclose(state["float32"], reference.float32[account], rtol=1e-5, atol=1e-5)


def test_an_account_without_events_has_no_state(scorer: Scorer) -> None:
    offline = OfflineScorer(Decoder(SCHEMA), scorer)
    batch = offline.score([None, b"{"], NOW_MS)
    assert (len(batch.columns), len(batch.rejects)) == (0, 2)
    assert offline.state("c1") is None
    assert list(offline.accounts) == []
