"""The bundle that comes with riskstream, through the core alone: no PyTorch, no broker."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from engine.bundle import Bundle
from engine.decode import Decoder
from engine.device import Device
from engine.history import Chunk, History
from engine.offline import OfflineScorer, ScoredBatch
from engine.scorer import Scorer
from models.packs.registry import pack_folder

FOLDER = pack_folder("fraud")
EVENTS = 2_000
MOST_STATE_BYTES = 960
MOST_BUNDLE_BYTES = 5_000_000


@pytest.fixture(scope="module")
def committed() -> Scorer:
    return Scorer(Bundle.load(FOLDER / "bundle"), Device.CPU)


@pytest.fixture(scope="module")
def demo(committed: Scorer) -> Chunk:
    """The first events of the demo's slice, as the stream carries them."""
    history = History.open(FOLDER / "demo" / "transactions.parquet", committed.manifest.schema)
    (chunk,) = history.slice(0, EVENTS).chunks(EVENTS)
    assert len(chunk) == EVENTS
    return chunk


def score(
    scorer: Scorer, demo: Chunk, cuts: Sequence[int] = ()
) -> tuple[OfflineScorer, list[ScoredBatch]]:
    offline = OfflineScorer(Decoder(scorer.manifest.schema), scorer)
    received_ms = int(demo.event_time_ms[-1])
    edges = pairwise([0, *cuts, EVENTS])
    return offline, [offline.score(demo.values[a:b], received_ms) for a, b in edges]


def test_the_demos_events_get_probabilities(committed: Scorer, demo: Chunk) -> None:
    _, (batch,) = score(committed, demo)
    assert not batch.rejects
    scores = batch.scored.scores
    assert scores.shape == (EVENTS,)
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert len(np.unique(scores)) > EVENTS / 10
    assert not batch.scored.duplicate.any()
    assert not batch.scored.late.any()


def test_an_alert_has_each_group_of_reasons_once(committed: Scorer, demo: Chunk) -> None:
    _, (batch,) = score(committed, demo)
    assert batch.scored.reasons
    groups = sorted(each.name for each in committed.manifest.reasons)
    for contributions in batch.scored.reasons.values():
        assert sorted(each.group.name for each in contributions) == groups
        assert np.isfinite([each.log_odds for each in contributions]).all()


@pytest.mark.parametrize("cuts", [range(1, EVENTS), range(64, EVENTS, 64), [1, 1_999]])
def test_the_demos_scores_do_not_depend_on_the_cut(
    committed: Scorer, demo: Chunk, cuts: Sequence[int]
) -> None:
    whole, (batch,) = score(committed, demo)
    offline, batches = score(committed, demo, cuts)
    scores = np.concatenate([each.scored.scores for each in batches])
    np.testing.assert_allclose(scores, batch.scored.scores, rtol=0, atol=1e-5)
    assert list(offline.accounts) == list(whole.accounts)
    layout = committed.layout
    one, other = (
        layout.decode([each.state(account) for account in whole.accounts])
        for each in (whole, offline)
    )
    for dtype in layout.sizes:
        if dtype == "float32":
            np.testing.assert_allclose(one[dtype], other[dtype], rtol=1e-4, atol=1e-4)
        else:
            np.testing.assert_array_equal(one[dtype], other[dtype])


def test_an_event_that_comes_twice_is_a_duplicate(committed: Scorer, demo: Chunk) -> None:
    offline, (batch,) = score(committed, demo)
    account = batch.columns.accounts[-1]
    before = offline.state(account)
    again = offline.score(demo.values[-1:], int(demo.event_time_ms[-1]))
    assert again.scored.duplicate.tolist() == [True]
    assert again.scored.scores[0] == pytest.approx(batch.scored.scores[-1].item(), abs=1e-6)
    assert offline.state(account) == before


def test_the_bundle_and_its_states_are_small(committed: Scorer) -> None:
    assert committed.layout.nbytes <= MOST_STATE_BYTES
    files = list((FOLDER / "bundle").iterdir())
    assert sum(each.stat().st_size for each in files) <= MOST_BUNDLE_BYTES
