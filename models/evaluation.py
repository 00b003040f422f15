"""How good scores are: ranking, calibration, and what an analyst with little time finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from engine.columns import Columns
from engine.manifest import Thresholds
from models.features.base import DAY_MS

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Metrics:
    """What :func:`evaluate` finds. A figure that the events do not allow is None.

    Args:
        events, positives: how many events have a label, and how many of these are fraud.
        auc_roc: area under the receiver operating characteristic.
        average_precision: mean precision over recall.
        card_precision_at_100: see :func:`card_precision`.
        calibration_error: see :func:`calibration_error`.
        at_threshold: threshold name to its ``share`` of the events, ``precision`` and ``recall``.
    """

    events: int
    positives: int
    auc_roc: float | None
    average_precision: float | None
    card_precision_at_100: float | None
    calibration_error: float | None
    at_threshold: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as the manifest holds it."""
        return asdict(self)


def evaluate(
    scores: Floats,
    labels: Floats,
    columns: Columns,
    *,
    thresholds: Thresholds | None = None,
    keep: NDArray[np.bool_] | None = None,
) -> Metrics:
    """Judge the scores of one period.

    Args:
        scores: probabilities ``[n]``.
        labels: 1 fraud, 0 genuine, NaN unknown, ``[n]``; events of unknown label do not count.
        columns: the ``n`` events.
        thresholds: those to report precision and recall at.
        keep: which events count, bool ``[n]``; all by default.
    """
    known = ~np.isnan(labels)
    if keep is not None:
        known &= keep
    score, label = scores[known], labels[known] > 0.5
    positives = int(label.sum())
    both = 0 < positives < len(label)
    days = columns.event_time_ms[known] // DAY_MS
    _, cards = np.unique(np.asarray(columns.accounts, dtype=object)[known], return_inverse=True)
    return Metrics(
        events=len(label),
        positives=positives,
        auc_roc=float(roc_auc_score(label, score)) if both else None,
        average_precision=float(average_precision_score(label, score)) if both else None,
        card_precision_at_100=card_precision(score, label, cards, days) if len(label) else None,
        calibration_error=calibration_error(score, label) if len(label) else None,
        at_threshold=_at_thresholds(score, label, thresholds),
    )


def card_precision(
    scores: Floats,
    labels: NDArray[np.bool_],
    cards: NDArray[np.integer[Any]],
    days: NDArray[np.integer[Any]],
    k: int = 100,
) -> float:
    """Return the mean over days of the share of frauds among the ``k`` most suspicious cards.

    Each day the cards are ranked by their highest score of that day. Cards found on an earlier day
    are passed over. A card counts if it has a fraud that day. (Le Borgne et al., Reproducible
    Machine Learning for Credit Card Fraud Detection, 2022, section 4.5.)

    Args:
        scores, labels, cards, days: the events' score, label, card number and day, ``[n]``.
        k: how many cards can be looked at in a day.
    """
    found: set[int] = set()
    shares = []
    for day in np.unique(days):
        own = np.flatnonzero(days == day)
        numbers, place = np.unique(cards[own], return_inverse=True)
        highest = np.full(len(numbers), -np.inf)
        np.maximum.at(highest, place, scores[own])
        fraud = np.zeros(len(numbers), dtype=bool)
        np.logical_or.at(fraud, place, labels[own])
        fresh = ~np.isin(numbers, list(found))
        numbers, highest, fraud = numbers[fresh], highest[fresh], fraud[fresh]
        best = np.argsort(-highest, kind="stable")[:k]
        hits = best[fraud[best]]
        found.update(numbers[hits].tolist())
        shares.append(len(hits) / k)
    return float(np.mean(shares))


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


def calibration_error(scores: Floats, labels: NDArray[np.bool_], bins: int = 15) -> float:
    """Return the expected calibration error: mean distance of score and rate of fraud.

    The events are cut into ``bins`` of equal number by score. (Naeini et al., 2015, with bins of
    equal number rather than of equal width, since nearly all scores are small.)
    """
    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [len(part) * abs(scores[part].mean() - labels[part].mean()) for part in parts]
    return float(np.sum(gaps) / len(scores))


def _at_thresholds(
    scores: Floats, labels: NDArray[np.bool_], thresholds: Thresholds | None
) -> dict[str, dict[str, float]]:
    if thresholds is None or not len(scores):
        return {}
    found = {}
    for name in ("review", "decline"):
        alerted = scores >= getattr(thresholds, name)
        hits = float((alerted & labels).sum())
        found[name] = {
            "share": float(alerted.mean()),
            "precision": hits / max(float(alerted.sum()), 1.0),
            "recall": hits / max(float(labels.sum()), 1.0),
        }
    return found
