"""Whether losses go beyond a quantile as often as it says, and not in clusters."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2


def kupiec(beyond: NDArray[np.bool_], level: float) -> float:
    """Return the p-value of the unconditional coverage test (Kupiec, 1995).

    Args:
        beyond: on which days the value was below the quantile, bool ``[n]``.
        level: the quantile's, such as 0.05.

    >>> round(kupiec(np.arange(100) < 5, 0.05), 3)
    1.0
    """
    hits, days = int(beyond.sum()), len(beyond)
    ratio = _likelihood(hits, days, level) - _likelihood(hits, days, hits / max(days, 1))
    return float(chi2.sf(max(-2.0 * ratio, 0.0), 1))


def independence(beyond: NDArray[np.bool_]) -> float:
    """Return the p-value of the independence of one day from the day before (Christoffersen, 1998).

    Args:
        beyond: see :func:`kupiec`.
    """
    return float(chi2.sf(_independence_ratio(beyond), 1))


def christoffersen(beyond: NDArray[np.bool_], level: float) -> float:
    """Return the p-value of the conditional coverage test (Christoffersen, 1998).

    Args:
        beyond, level: see :func:`kupiec`.
    """
    hits, days = int(beyond.sum()), len(beyond)
    ratio = _likelihood(hits, days, level) - _likelihood(hits, days, hits / max(days, 1))
    return float(chi2.sf(max(-2.0 * ratio, 0.0) + _independence_ratio(beyond), 2))


def _independence_ratio(beyond: NDArray[np.bool_]) -> float:
    before, after = beyond[:-1], beyond[1:]
    counts = [(int((before == was).sum()), int((after & (before == was)).sum())) for was in (0, 1)]
    days, hits = (sum(each) for each in zip(*counts, strict=True))
    apart = sum(_likelihood(own, of, own / max(of, 1)) for of, own in counts)
    return max(-2.0 * (_likelihood(hits, days, hits / max(days, 1)) - apart), 0.0)


def _likelihood(hits: int, days: int, rate: float) -> float:
    """Return the log-likelihood of so many hits at a rate; 0 log 0 is 0."""
    found = 0.0
    for count, chance in ((hits, rate), (days - hits, 1.0 - rate)):
        if count:
            found += count * (math.log(chance) if chance > 0 else -math.inf)
    return found
