"""The events that scores are judged on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.columns import Columns
from engine.schema import Schema
from models.features.base import DAY_MS

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Judged:
    """``n`` events whose labels are known, with their scores.

    Args:
        scores: probabilities; float32 ``[n]``.
        fraud: whether each is fraud; bool ``[n]``.
        event_time_ms: milliseconds since 1970; int64 ``[n]``.
        cards: the number of each event's account; int64 ``[n]``.
        earlier: how many events its account had before it; int64 ``[n]``.
        amounts: float64 ``[n]``; None where events have none.
        scenario: which kind of fraud each is, as text, object ``[n]``; None where not known.
    """

    scores: NDArray[np.float32]
    fraud: NDArray[np.bool_]
    event_time_ms: NDArray[np.int64]
    cards: NDArray[np.int64]
    earlier: NDArray[np.int64]
    amounts: NDArray[np.float64] | None = None
    scenario: NDArray[np.object_] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def day(self) -> NDArray[np.int64]:
        """The day of each event since 1970 (UTC); int64 ``[n]``."""
        return self.event_time_ms // DAY_MS

    @property
    def days(self) -> float:
        """How many days there are from the first event to the last; at least 1."""
        times = self.event_time_ms
        return max(1.0, (int(times.max()) - int(times.min())) / DAY_MS) if len(self) else 1.0

    def take(self, keep: NDArray[np.bool_]) -> Judged:
        """Return some of the events. ``keep``: which; bool ``[n]``."""
        return Judged(
            scores=self.scores[keep],
            fraud=self.fraud[keep],
            event_time_ms=self.event_time_ms[keep],
            cards=self.cards[keep],
            earlier=self.earlier[keep],
            amounts=None if self.amounts is None else self.amounts[keep],
            scenario=None if self.scenario is None else self.scenario[keep],
        )


def judge(
    scores: Floats,
    labels: Floats,
    columns: Columns,
    *,
    schema: Schema | None = None,
    keep: NDArray[np.bool_] | None = None,
    scenario: NDArray[np.object_] | None = None,
) -> Judged:
    """Return the events of known label.

    Args:
        scores: probabilities ``[n]``.
        labels: 1 fraud, 0 genuine, NaN unknown, ``[n]``; events of unknown label are left out.
        columns: the ``n`` events in the order of time. All of them count as an account's history.
        schema: of the events, for their amounts.
        keep: which events are judged, bool ``[n]``; all by default.
        scenario: which kind of fraud each is, as text; object ``[n]``.
    """
    _, cards = np.unique(np.asarray(columns.accounts, dtype=object), return_inverse=True)
    amount = schema.amount if schema else None
    every = Judged(
        scores=np.asarray(scores, dtype=np.float32),
        fraud=np.asarray(labels > 0.5, dtype=np.bool_),
        event_time_ms=columns.event_time_ms,
        cards=cards.astype(np.int64),
        earlier=_earlier(cards),
        amounts=None if amount is None else columns.values[amount.name].astype(np.float64),
        scenario=scenario,
    )
    known = ~np.isnan(labels)
    return every.take(known if keep is None else known & keep)


def compromised(
    columns: Columns, labels: Floats, *, since_ms: int, known_after_days: int = 8
) -> NDArray[np.bool_]:
    """Return which events are of cards known to be compromised by then, bool ``[n]``.

    A card is known on a day if it has a fraud at ``since_ms`` or later and at least
    ``known_after_days`` days before that day.
    """
    days = columns.event_time_ms // DAY_MS
    _, cards = np.unique(np.asarray(columns.accounts, dtype=object), return_inverse=True)
    fraud = (labels > 0.5) & (columns.event_time_ms >= since_ms)
    first = np.full(int(cards.max(initial=0)) + 1, np.iinfo(np.int64).max // 2)
    np.minimum.at(first, cards[fraud], days[fraud])
    return np.asarray(days >= first[cards] + known_after_days, dtype=np.bool_)


def _earlier(cards: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return how many of the events before each are of the same card; int64 ``[n]``."""
    order = np.argsort(cards, kind="stable")
    starts = np.concatenate(([0], np.cumsum(np.bincount(cards)))) if len(cards) else np.zeros(1)
    earlier = np.empty(len(cards), dtype=np.int64)
    earlier[order] = np.arange(len(cards)) - starts[cards[order]]
    return earlier
