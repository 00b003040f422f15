"""What the tests of the packs have in common."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import orjson

from engine.bundle import Bundle
from engine.decode import Decoder
from engine.device import Device
from engine.offline import OfflineScorer, ScoredBatch
from engine.scorer import Scorer
from models.packs.registry import pack_folder

RECEIVED_MS = 1 << 42


@cache
def bundle_of(pack: str) -> Bundle:
    return Bundle.load(pack_folder(pack) / "bundle")


def offline_of(pack: str, with_features: bool = False, **changes: Any) -> OfflineScorer:
    """A scorer of a pack's committed bundle, with nothing known."""
    bundle = bundle_of(pack)
    scorer = Scorer(bundle, Device.CPU, **changes)
    return OfflineScorer(Decoder(bundle.manifest.schema), scorer, with_features=with_features)


def score(offline: OfflineScorer, events: Sequence[dict[str, Any]]) -> ScoredBatch:
    return offline.score([orjson.dumps(event) for event in events], RECEIVED_MS)


def answers(batch: ScoredBatch) -> list[list[float]]:
    """Each event's score and outputs."""
    outputs = batch.scored.outputs
    assert outputs is not None
    return np.column_stack((batch.scored.scores, outputs)).tolist()
