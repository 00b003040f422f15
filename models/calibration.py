"""From log-odds to probabilities, and from probabilities to thresholds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.manifest import Thresholds

_ROUNDS = 50
#: Fewer declined events than this say nothing about their precision.
_LEAST_DECLINED = 30


def fit_platt(logits: NDArray[np.float64], labels: NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and offset of Platt scaling, fitted by Newton's method.

    The targets are smoothed as Platt (1999) has it: ``(N+ + 1) / (N+ + 2)`` for fraud and
    ``1 / (N- + 2)`` for genuine events.

    Args:
        logits: log-odds before calibration ``[n]``.
        labels: whether each is fraud ``[n]``.

    Returns:
        (1, 0) if all labels are the same, or if higher log-odds do not mean more fraud.
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if positives == 0 or negatives == 0:
        return 1.0, 0.0
    target = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.stack((logits, np.ones_like(logits)), axis=1)
    found = np.array([1.0, 0.0])
    for _ in range(_ROUNDS):
        p = 1 / (1 + np.exp(-np.clip(design @ found, -60, 60)))
        curvature = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        move = np.linalg.solve(curvature, design.T @ (p - target))
        found = found - np.clip(move, -1.0, 1.0)
        if np.abs(move).max() < 1e-8:
            break
    slope, offset = float(found[0]), float(found[1])
    return (slope, offset) if slope > 0 and np.isfinite(found).all() else (1.0, 0.0)


def choose_thresholds(
    scores: NDArray[np.float32],
    labels: NDArray[np.bool_],
    *,
    review_share: float,
    decline_precision: float,
) -> Thresholds:
    """Return the thresholds for a budget of reviews.

    Review: the least score at which at most ``review_share`` of the events are reviewed. Decline:
    the least score above it at which the declined events are fraud with ``decline_precision``;
    where no score reaches that, the score of a tenth of the budget.

    Args:
        scores: probabilities of a validation period ``[n]``.
        labels: whether each is fraud ``[n]``.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    review = _at_budget(ranked, review_share)
    # an event's precision counts all those of the same score, so the last of a tie stands for it
    precision = np.cumsum(labels[order]) / np.arange(1, len(ranked) + 1)
    last = np.append(ranked[1:] < ranked[:-1], True)
    enough = np.arange(1, len(ranked) + 1) >= _LEAST_DECLINED
    good = np.flatnonzero(last & enough & (precision >= decline_precision) & (ranked >= review))
    tenth = _at_budget(ranked, review_share / 10)
    decline = float(ranked[good[-1]]) if len(good) else tenth
    return Thresholds(review=review, decline=max(review, decline))


def _at_budget(ranked: NDArray[np.float32], share: float) -> float:
    """Return the least of the descending scores that at most ``share`` of them reach."""
    allowed = int(share * len(ranked))
    if allowed >= len(ranked):
        return float(ranked[-1])
    above = ranked[:allowed][ranked[:allowed] > ranked[allowed]]
    return float(above[-1]) if len(above) else float(np.nextafter(ranked[0], np.float32(1)))
