"""Scores in descending order, where equal scores go together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def last_of_ties(ranked: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Return the places of the last of each run of equal scores.

    What holds from a score on holds there: the events before it are those of that score or more.

    Args:
        ranked: descending scores ``[n]``.

    >>> last_of_ties(np.array([0.9, 0.5, 0.5, 0.1])).tolist()
    [0, 2, 3]
    """
    return np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))


def score_within(ranked: NDArray[np.float32], number: int) -> float | None:
    """Return the least score that at most ``number`` events reach; None where more reach any.

    Args:
        ranked: descending scores ``[n]``.
        number: less than ``n``.

    >>> score_within(np.array([0.9, 0.5, 0.5, 0.1], np.float32), 2)
    0.8999999761581421
    """
    above = ranked[:number][ranked[:number] > ranked[number]]
    return float(above[-1]) if len(above) else None
