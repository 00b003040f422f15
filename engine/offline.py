"""Scoring a whole history straight through the core: no broker, no store.

What the stream would have known at each event is known here, and no more: accounts' states, the
closed buckets of shared entities, and labels from when they became known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.additions import Labels
from engine.columns import Columns, Reject
from engine.decode import Decoder
from engine.failures import set_aside
from engine.knowledge import Knowledge
from engine.scored import Scored
from engine.scorer import Scorer
from engine.waves import index_accounts


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """One batch of a history with its scores, and its rejects."""

    columns: Columns
    scored: Scored
    rejects: Sequence[Reject]


class OfflineScorer:
    """Scores batches in order, and keeps in memory all that the stream keeps in its store.

    Args:
        decoder: reads the events.
        scorer: scores them.
        label_delay_ms: how long after its event a label becomes known; None where labels are not
            to be used.
        with_features: whether the features' values are wanted too.
    """

    def __init__(
        self,
        decoder: Decoder,
        scorer: Scorer,
        label_delay_ms: int | None = None,
        with_features: bool = False,
    ) -> None:
        self._decoder = decoder
        self._scorer = scorer
        self._delay_ms = label_delay_ms
        self._with_features = with_features
        self._places: dict[str, int] = {}
        self._states = scorer.layout.zeros(1024)
        self.knowledge = Knowledge(decoder.schema, scorer.manifest.shared)

    def score(
        self,
        values: Sequence[bytes | None],
        received_ms: int,
        labels: NDArray[np.float32] | None = None,
    ) -> ScoredBatch:
        """Score the next batch of events.

        Args:
            values: the events' bytes, in the order they are to be scored.
            received_ms: the time against which their times are checked, in ms since 1970.
            labels: what each turned out to be: 1 for fraud, 0 for none, NaN for unknown; float32
                ``[len(values)]``.
        """
        decoded = self._decoder.decode(values, received_ms)
        columns = decoded.columns
        index = self._index(columns.accounts)
        parts = []
        for segment in self.knowledge.segments(columns.event_time_ms):
            place = np.arange(segment.start, segment.stop)
            parts.append(self._score(columns.take(place), index[place], labels))
        decoded, scored = set_aside(decoded, Scored.concatenate(parts))
        columns = self._scorer.with_kept(decoded.columns, scored)
        return ScoredBatch(columns, scored, decoded.rejects)

    def state(self, account: str) -> bytes | None:
        """Return an account's encoded state; None where it has had no event."""
        place = self._places.get(account)
        return None if place is None else self._states[place].tobytes()

    @property
    def accounts(self) -> Iterable[str]:
        """The accounts seen so far."""
        return self._places.keys()

    def states(self) -> Iterator[tuple[str, bytes]]:
        """Yield each account with its encoded state."""
        for account, place in self._places.items():
            yield account, self._states[place].tobytes()

    def _score(
        self, columns: Columns, index: NDArray[np.int64], labels: NDArray[np.float32] | None
    ) -> Scored:
        shared = self.knowledge.read(columns)
        touched, local = index_accounts(index.tolist())
        scored = self._scorer.score(
            columns, self._states[touched], local, shared, self._with_features
        )
        self._states[touched] = scored.states
        counted = ~(scored.duplicate | scored.failed)
        columns = self._scorer.with_kept(columns, scored)
        self.knowledge.add_events(columns, counted)
        if labels is not None and self._delay_ms is not None:
            positive = np.where(counted, labels[columns.rows], np.float32(np.nan))
            known_ms = columns.event_time_ms + self._delay_ms
            self.knowledge.add_labels(Labels.of(self._decoder.schema, columns, positive, known_ms))
        return scored

    def _index(self, accounts: Sequence[str]) -> NDArray[np.int64]:
        places = self._places
        found = [places.setdefault(account, len(places)) for account in accounts]
        if len(places) > len(self._states):
            more = self._scorer.layout.zeros(max(len(places), 2 * len(self._states)))
            more[: len(self._states)] = self._states
            self._states = more
        return np.array(found, dtype=np.int64)
