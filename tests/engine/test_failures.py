"""An event that overflows the model's arithmetic has no score, and harms no other."""

from __future__ import annotations

import orjson
import pytest

from engine.bundle import Bundle
from engine.columns import Reason
from engine.decode import Decoder
from engine.device import Device
from engine.offline import OfflineScorer
from engine.scorer import Scorer
from models.packs.registry import pack_folder

RECEIVED_MS = 1 << 42


def event(number: int, amount: float, card: str = "c1") -> bytes:
    return orjson.dumps(
        {
            "transaction_id": f"t{number}",
            "time": f"2026-01-0{number}T00:00:00Z",
            "card_id": card,
            "terminal_id": "1",
            "amount": amount,
        }
    )


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(Bundle.load(pack_folder("fraud") / "bundle"), Device.CPU)


@pytest.mark.parametrize("amount", [3e38, 1e25])
def test_a_number_that_overflows_is_a_reject_and_the_account_goes_on(
    scorer: Scorer, amount: float
) -> None:
    good = [event(1, 20.0), event(3, 30.0), event(4, 25.0)]
    offline = OfflineScorer(Decoder(scorer.manifest.schema), scorer)
    found = offline.score([good[0], event(2, amount), *good[1:]], RECEIVED_MS)
    expected = OfflineScorer(Decoder(scorer.manifest.schema), scorer).score(good, RECEIVED_MS)
    (reject,) = found.rejects
    assert (reject.row, reject.reason, reject.account) == (1, Reason.NOT_SCORED, "c1")
    assert found.columns.event_ids == ["t1", "t3", "t4"]
    assert found.scored.scores.tolist() == expected.scored.scores.tolist()


def test_reasons_stay_with_their_events(scorer: Scorer) -> None:
    offline = OfflineScorer(Decoder(scorer.manifest.schema), scorer)
    found = offline.score([event(1, 3e38), event(2, 900.0)], RECEIVED_MS)
    assert found.columns.event_ids == ["t2"]
    assert list(found.scored.reasons) == [0]
