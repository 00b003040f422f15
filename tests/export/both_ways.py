"""One history on both ways to its scores: as training sees it, and as the graph serves it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import orjson
import torch
from numpy.typing import NDArray

from engine.bundle import Bundle
from engine.decode import Decoder, Limits
from engine.offline import OfflineScorer
from engine.scorer import Scorer as EngineScorer
from models.data import account_hashes, by_account, feature_table
from models.learner import Material, validation_logits
from models.periods import Periods
from models.scorer import Scorer
from tests.models.tools import DAY_MS, SCHEMA, START_MS

DELAY_MS = 2 * DAY_MS
RECEIVED_MS = 1 << 42

#: How many events each account has.
LENGTHS = (1, 1, 2, 3, 5, 8, 17, 40, 90)


@dataclass(frozen=True, slots=True)
class Events:
    """``n`` events as bytes in the order of time, and their labels, NaN where not known."""

    values: list[bytes]
    labels: NDArray[np.float32]


def irregular_events(seed: int) -> Events:
    """Accounts of many lengths: bursts, long gaps, equal times, repeated ids, unknown labels."""
    rng = np.random.default_rng(seed)
    rows = []
    for account, length in enumerate(LENGTHS):
        gaps_s = rng.choice(
            [0, 5, 3_600, 90_000, 40 * 86_400], length, p=[0.1, 0.3, 0.3, 0.27, 0.03]
        )
        times = START_MS + 1000 * (np.cumsum(gaps_s) + rng.integers(0, 86_400))
        for at, time_ms in enumerate(times.tolist()):
            number = at - 1 if at and rng.random() < 0.1 else at
            rows.append((time_ms, f"t{account}-{number}", f"a{account}"))
    rows.sort(key=lambda row: row[0])
    values = [
        orjson.dumps(
            {
                "transaction_id": event_id,
                "time": datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(),
                "card_id": account,
                "terminal_id": f"s{rng.integers(6)}",
                "amount": round(float(rng.lognormal(3.5, 1.0)), 2),
            }
        )
        for time_ms, event_id, account in rows
    ]
    labels = rng.choice([0.0, 1.0, np.nan], len(rows), p=[0.6, 0.2, 0.2])
    return Events(values, labels.astype(np.float32))


def as_trained(scorer: Scorer, events: Events) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the scores that training computes over whole histories, and which rows repeat."""
    columns = Decoder(scorer.schema, Limits()).decode(events.values, RECEIVED_MS).columns
    histories = by_account(account_hashes(columns, scorer.schema))
    table = feature_table(scorer, columns, histories, events.labels, DELAY_MS)
    every = np.ones(len(columns), dtype=np.bool_)
    material = Material(
        histories,
        table.columns,
        torch.from_numpy(~table.duplicate),
        torch.from_numpy(np.nan_to_num(events.labels)),
        Periods(every, every),
    )
    logits = torch.from_numpy(validation_logits(scorer, material))
    with torch.inference_mode():
        return torch.sigmoid(scorer.calibration(logits)).numpy(), table.duplicate


def as_served(
    bundle: Bundle, events: Events, cuts: list[int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the scores of the graph, batch after batch, and which events it took for repeats."""
    offline = OfflineScorer(
        Decoder(bundle.manifest.schema, Limits()), EngineScorer(bundle), DELAY_MS
    )
    scores, repeats = [], []
    for start, stop in zip([0, *cuts], [*cuts, len(events.values)], strict=True):
        batch = offline.score(events.values[start:stop], RECEIVED_MS, events.labels[start:stop])
        scores.append(batch.scored.scores)
        repeats.append(batch.scored.duplicate)
    return np.concatenate(scores), np.concatenate(repeats)


def assert_both_ways_agree(scorer: Scorer, bundle: Bundle) -> None:
    """Compare all first answers to 1e-5, for several histories and cuts into batches."""
    assert bundle.manifest.schema == SCHEMA
    for seed in range(2):
        events = irregular_events(seed)
        expected, repeats = as_trained(scorer, events)
        assert 0 < repeats.sum() < len(repeats) / 2
        n, rng = len(events.values), np.random.default_rng(seed)
        for cuts in ([], sorted(rng.choice(np.arange(1, n), 12, replace=False).tolist())):
            scores, found = as_served(bundle, events, cuts)
            np.testing.assert_array_equal(found, repeats)
            np.testing.assert_allclose(scores[~repeats], expected[~repeats], rtol=0, atol=1e-5)
            assert np.ptp(scores) > 1e-3
