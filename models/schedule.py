"""The learning rate over a training: one cycle (Smith & Topin, 2019, arXiv:1708.07120).

It rises, then falls to nearly nothing; the optimizer's momentum does the opposite. Both are
functions of the part of the training that is done, so nothing is carried from step to step.
"""

from __future__ import annotations

import math

#: The first learning rate, and the last, as parts of the largest.
_FIRST, _LAST = 1 / 25, 1 / 250_000

#: AdamW's first beta at the ends of the training, and where the learning rate is largest.
_BETA_ENDS, _BETA_PEAK = 0.95, 0.85


def learning_rate_at(done: float, rise: float) -> float:
    """Return the learning rate as a part of the largest.

    Args:
        done: the part of the training that is done, 0 to 1.
        rise: the part over which it rises.

    >>> [round(learning_rate_at(done, 0.2), 3) for done in (0.0, 0.2, 0.6, 1.0)]
    [0.04, 1.0, 0.5, 0.0]
    """
    if done < rise:
        return _cosine(_FIRST, 1.0, done / rise)
    return _cosine(1.0, _LAST, _fall(done, rise))


def momentum_at(done: float, rise: float) -> float:
    """Return AdamW's first beta at this part of the training. Arguments as above."""
    if done < rise:
        return _cosine(_BETA_ENDS, _BETA_PEAK, done / rise)
    return _cosine(_BETA_PEAK, _BETA_ENDS, _fall(done, rise))


def _fall(done: float, rise: float) -> float:
    return min((done - rise) / (1.0 - rise), 1.0) if rise < 1.0 else 0.0


def _cosine(start: float, end: float, at: float) -> float:
    return end + (start - end) * (1.0 + math.cos(math.pi * at)) / 2.0
