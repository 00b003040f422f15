"""How sure a figure is: intervals that hold the true value 95 times of 100."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.judged import Floats, Judged
from models.ranking import last_of_ties

_Z = 1.959964  # of a normal distribution, 2.5 % lie above it
_DRAWS = 200


@dataclass(frozen=True, slots=True)
class Interval:
    """The least and the highest value of a 95 % interval."""

    low: float
    high: float


def wilson(hits: float, events: float) -> Interval | None:
    """Return the interval of a share; None without events. (Wilson, 1927.)

    >>> round(wilson(0, 20).high, 4)
    0.1611
    """
    if events <= 0:
        return None
    share, spread = hits / events, _Z**2 / events
    centre = share + spread / 2
    half = _Z * np.sqrt(share * (1 - share) / events + spread / (4 * events))
    return Interval(
        max(0.0, float((centre - half) / (1 + spread))),
        min(1.0, float((centre + half) / (1 + spread))),
    )


def ranking_intervals(
    judged: Judged, draws: int = _DRAWS, seed: int = 0
) -> tuple[Interval | None, Interval | None]:
    """Return the intervals of the area under the ROC and of the average precision.

    They are the percentiles of a bootstrap that draws cards with all of their events, since the
    events of one card are not independent (Field & Welsh, 2007). None where a kind of event is
    missing, or where frauds are of one card only.
    """
    frauds = np.unique(judged.cards[judged.fraud])
    if len(frauds) < 2 or judged.fraud.all():
        return None, None
    order = np.argsort(-judged.scores, kind="stable")
    ranked, fraud = judged.scores[order], judged.fraud[order]
    numbers, card = np.unique(judged.cards[order], return_inverse=True)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        times = np.bincount(rng.integers(len(numbers), size=len(numbers)), minlength=len(numbers))
        found.append(weighted_ranking(ranked, fraud, times[card].astype(np.float64)))
    low, high = np.nanpercentile(np.array(found), (2.5, 97.5), axis=0)
    return Interval(float(low[0]), float(high[0])), Interval(float(low[1]), float(high[1]))


def weighted_ranking(
    ranked: Floats, fraud: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the area under the ROC and the average precision of weighted events.

    Args:
        ranked: descending scores ``[n]``.
        fraud, weights: of these events ``[n]``.

    Returns:
        NaN where the weights leave no fraud or no genuine event.
    """
    last = last_of_ties(ranked)
    hits = np.cumsum(weights * fraud)[last]
    false = np.cumsum(weights * ~fraud)[last]
    if hits[-1] == 0 or false[-1] == 0:
        return np.nan, np.nan
    area = np.trapezoid(np.append(0.0, hits), np.append(0.0, false)) / (hits[-1] * false[-1])
    precision = hits / np.maximum(hits + false, 1e-300)
    return float(area), float((np.diff(hits, prepend=0.0) * precision).sum() / hits[-1])
