"""From log-odds to probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 50


def fit_platt(
    logits: NDArray[np.float64], labels: NDArray[np.bool_], prior: float = 0.0
) -> tuple[float, float]:
    """Return slope and offset of Platt scaling, fitted by Newton's method.

    The targets are smoothed as Platt (1999) has it: ``(N+ + 1) / (N+ + 2)`` for fraud and
    ``1 / (N- + 2)`` for genuine events.

    A network that learns probabilities from many more events than validate it is calibrated better
    than so few can tell. A prior leaves it as it is until they say otherwise: slope and offset are
    then those that are most probable, where before they are normal about 1 and 0.

    Args:
        logits: log-odds before calibration ``[n]``.
        labels: whether each is fraud ``[n]``.
        prior: the standard deviation of slope and offset before anything is seen; 0 for no prior.

    Returns:
        (1, 0) if all labels are the same, or if higher log-odds do not mean more fraud.
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if positives == 0 or negatives == 0:
        return 1.0, 0.0
    target = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.stack((logits, np.ones_like(logits)), axis=1)
    expected = np.array([1.0, 0.0])
    strength = 1e-9 if prior == 0 else prior**-2
    found = expected
    for _ in range(_ROUNDS):
        p = 1 / (1 + np.exp(-np.clip(design @ found, -60, 60)))
        curvature = (design * (p * (1 - p))[:, None]).T @ design + strength * np.eye(2)
        gradient = design.T @ (p - target) + strength * (found - expected)
        move = np.linalg.solve(curvature, gradient)
        found = found - np.clip(move, -1.0, 1.0)
        if np.abs(move).max() < 1e-8:
            break
    slope, offset = float(found[0]), float(found[1])
    return (slope, offset) if slope > 0 and np.isfinite(found).all() else (1.0, 0.0)
