"""The figures by which scores are compared: ranking and calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from engine.columns import Columns
from engine.manifest import Thresholds
from models.evaluation.curves import Bin, equal_bins
from models.evaluation.judged import Floats, Judged, judge


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
    at_threshold: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)

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
    return metrics(judge(scores, labels, columns, keep=keep), thresholds)


def metrics(judged: Judged, thresholds: Thresholds | None = None) -> Metrics:
    """Return the figures of judged events; see :func:`evaluate`."""
    score, fraud = judged.scores, judged.fraud
    auc, average = ranking(score, fraud)
    some = len(judged) > 0
    return Metrics(
        events=len(judged),
        positives=int(fraud.sum()),
        auc_roc=auc,
        average_precision=average,
        card_precision_at_100=(
            card_precision(score, fraud, judged.cards, judged.day) if some else None
        ),
        calibration_error=calibration_error(score, fraud) if some else None,
        at_threshold=_at_thresholds(score, fraud, thresholds) if some and thresholds else {},
    )


def ranking(scores: Floats, fraud: NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """Return the area under the ROC and the average precision; None where one kind is missing."""
    if not 0 < int(fraud.sum()) < len(fraud):
        return None, None
    return float(roc_auc_score(fraud, scores)), float(average_precision_score(fraud, scores))


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


def calibration_error(scores: Floats, labels: NDArray[np.bool_], bins: int = 15) -> float:
    """Return the expected calibration error: mean distance of score and rate of fraud.

    The events are cut into ``bins`` of equal number by score. (Naeini et al., 2015, with bins of
    equal number rather than of equal width, since nearly all scores are small.)
    """
    found: list[Bin] = equal_bins(scores, labels, bins)
    return sum(each.events * abs(each.score - each.rate) for each in found) / len(scores)


def _at_thresholds(
    scores: Floats, labels: NDArray[np.bool_], thresholds: Thresholds
) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {}
    for name in ("review", "decline"):
        alerted = scores >= getattr(thresholds, name)
        hits, alerts, frauds = int((alerted & labels).sum()), int(alerted.sum()), int(labels.sum())
        found[name] = {
            "share": float(alerted.mean()),
            "precision": hits / alerts if alerts else None,
            "recall": hits / frauds if frauds else None,
        }
    return found
