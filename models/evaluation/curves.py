"""The curves of an evaluation, as the points that are drawn and written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.judged import Floats
from models.ranking import last_of_ties

#: A curve is drawn through at most so many points.
_POINTS = 400

#: The scores at which calibration is looked at.
_STEPS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.97, 1.0)


@dataclass(frozen=True, slots=True)
class Bin:
    """Events of like score.

    Args:
        events, frauds: how many.
        score, rate: the mean score, and the rate of fraud.
        low, high: between which scores they lie.
    """

    events: int
    frauds: int
    score: float
    rate: float
    low: float = 0.0
    high: float = 1.0


def equal_bins(scores: Floats, fraud: NDArray[np.bool_], bins: int = 15) -> list[Bin]:
    """Cut events by score into ``bins`` of equal number; fewer where there are fewer events."""
    order = np.argsort(scores, kind="stable")
    found = []
    for part in np.array_split(order, bins):
        if len(part):
            frauds = int(fraud[part].sum())
            score = float(np.mean(scores[part], dtype=np.float64))
            found.append(Bin(len(part), frauds, score, frauds / len(part)))
    return found


def reliability_bins(scores: Floats, fraud: NDArray[np.bool_]) -> list[Bin]:
    """Cut events by score at fixed steps, close where decisions rest; empty bins are left out."""
    place = np.searchsorted(np.array(_STEPS[1:-1]), scores, side="right")
    found = []
    for at in np.unique(place).tolist():
        own = place == at
        (part,) = equal_bins(scores[own], fraud[own], 1)
        found.append(replace(part, low=_STEPS[at], high=_STEPS[at + 1]))
    return found


def precision_recall(scores: Floats, fraud: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return recall, ascending, and the precision at each; both empty without frauds."""
    if not fraud.any():
        return np.zeros(0), np.zeros(0)
    order = np.argsort(-scores, kind="stable")
    last = last_of_ties(scores[order])
    hits = np.cumsum(fraud[order])[last]
    recall, precision = hits / hits[-1], hits / (last + 1)
    kept = thinned(recall)
    return recall[kept], precision[kept]


@dataclass(frozen=True, slots=True)
class AlertCurve:
    """What alerts find, by their number: ``per_day`` ascending, the rest shares of all, ``[p]``."""

    per_day: Floats
    frauds: Floats
    amount: Floats | None


def alert_curve(
    scores: Floats,
    fraud: NDArray[np.bool_],
    amounts: NDArray[np.float64] | None,
    days: float,
) -> AlertCurve:
    """Return the share of the frauds, and of their amounts, that so many alerts a day find."""
    empty = np.zeros(0)
    if not fraud.any():
        return AlertCurve(empty, empty, None)
    order = np.argsort(-scores, kind="stable")
    last = last_of_ties(scores[order])
    per_day = (last + 1) / days
    kept = thinned(np.log(per_day))
    frauds = np.cumsum(fraud[order])[last][kept]
    money = None
    if amounts is not None and (lost := amounts * fraud).sum() > 0:
        money = np.cumsum(lost[order])[last][kept] / lost.sum()
    return AlertCurve(per_day[kept], frauds / fraud.sum(), money)


def log_odds_histogram(
    scores: Floats, fraud: NDArray[np.bool_], bins: int = 40
) -> tuple[Floats, Floats, Floats]:
    """Return edges in log-odds ``[bins + 1]``, and the share of each kind by bin ``[bins]``."""
    bounded = np.clip(np.asarray(scores, dtype=np.float64), 1e-5, 1 - 1e-4)
    odds = np.log(bounded / (1 - bounded))
    low, high = (float(odds.min()), float(odds.max())) if len(odds) else (-1.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
    genuine, bad = (np.histogram(odds[kind], edges)[0] for kind in (~fraud, fraud))
    return edges, genuine / max(genuine.sum(), 1), bad / max(bad.sum(), 1)


def thinned(x: NDArray[Any], points: int = _POINTS) -> NDArray[np.int64]:
    """Return the places of at most ``points`` values of an ascending ``x``, even over its range."""
    if len(x) <= points:
        return np.arange(len(x))
    wanted = np.linspace(x[0], x[-1], points)
    return np.unique(np.minimum(np.searchsorted(x, wanted), len(x) - 1))
