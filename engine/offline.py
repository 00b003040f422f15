"""Scoring a whole history straight through the core: no broker, no store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.columns import Columns, Reject
from engine.decode import Decoder
from engine.failures import set_aside
from engine.scorer import Scored, Scorer


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """One batch of a history with its scores, and its rejects."""

    columns: Columns
    scored: Scored
    rejects: Sequence[Reject]


class OfflineScorer:
    """Scores batches in order, and keeps the states of all accounts in memory.

    Args:
        decoder: reads the events.
        scorer: scores them.
    """

    def __init__(self, decoder: Decoder, scorer: Scorer) -> None:
        self._decoder = decoder
        self._scorer = scorer
        self._places: dict[str, int] = {}
        self._states = scorer.layout.zeros(1024)

    def score(self, values: Sequence[bytes | None], received_ms: int) -> ScoredBatch:
        """Score the next batch of events.

        Args:
            values: the events' bytes, in the order they are to be scored.
            received_ms: the time against which their times are checked, in ms since 1970.
        """
        decoded = self._decoder.decode(values, received_ms)
        columns = decoded.columns
        places = self._places
        index = np.array(
            [places.setdefault(account, len(places)) for account in columns.accounts],
            dtype=np.int64,
        )
        self._grow(len(places))
        touched, local = np.unique(index, return_inverse=True)
        scored = self._scorer.score(columns, self._states[touched], local)
        self._states[touched] = scored.states
        decoded, scored = set_aside(decoded, scored)
        return ScoredBatch(decoded.columns, scored, decoded.rejects)

    def state(self, account: str) -> bytes | None:
        """Return an account's encoded state; None where it has had no event."""
        place = self._places.get(account)
        return None if place is None else self._states[place].tobytes()

    @property
    def accounts(self) -> Iterable[str]:
        """The accounts seen so far."""
        return self._places.keys()

    def _grow(self, needed: int) -> None:
        if needed > len(self._states):
            more = self._scorer.layout.zeros(max(needed, 2 * len(self._states)))
            more[: len(self._states)] = self._states
            self._states = more
