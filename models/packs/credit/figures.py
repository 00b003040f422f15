"""The figures by which credit scores are compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

Floats: TypeAlias = NDArray[np.floating[Any]]
Bools: TypeAlias = NDArray[np.bool_]

_BINS = 10
_LEAST_SHARE = 1e-4


@dataclass(frozen=True, slots=True)
class CreditFigures:
    """How good the probabilities of ``clients`` are.

    Args:
        clients, defaults: counts.
        rate, mean_score: the rate of default, and the mean probability.
        auc: the area under the ROC; None where all are alike, as are Gini and KS.
        gini: ``2 auc - 1``.
        ks: the largest distance of the two classes' distributions (Kolmogorov, Smirnov).
        brier: the mean square distance of probability and outcome (Brier, 1950).
        calibration_error: see :func:`calibration_error`.
    """

    clients: int
    defaults: int
    rate: float
    mean_score: float
    auc: float | None
    gini: float | None
    ks: float | None
    brier: float
    calibration_error: float

    @classmethod
    def of(cls, scores: Floats, default: Bools) -> CreditFigures:
        """Return the figures of probabilities ``[n]`` and outcomes ``[n]``, ``n >= 1``."""
        auc = ks = None
        if 0 < default.sum() < len(default):
            auc = float(roc_auc_score(default, scores))
            false, true, _ = roc_curve(default, scores)
            ks = float(np.max(true - false))
        return cls(
            clients=len(scores),
            defaults=int(default.sum()),
            rate=float(default.mean()),
            mean_score=float(scores.mean()),
            auc=auc,
            gini=None if auc is None else 2 * auc - 1,
            ks=ks,
            brier=float(np.mean((scores - default) ** 2)),
            calibration_error=calibration_error(scores, default),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return them as JSON holds them."""
        return asdict(self)


def calibration_error(scores: Floats, default: Bools, bins: int = _BINS) -> float:
    """Return the expected calibration error: mean distance of probability and rate of default.

    The probabilities are cut into bins of equal width (Guo et al., 2017, arXiv:1706.04599).

    >>> calibration_error(np.array([0.25, 0.25]), np.array([True, False]))
    0.25
    """
    at = np.minimum((scores * bins).astype(np.int64), bins - 1)
    away = np.bincount(at, weights=scores - default, minlength=bins)
    return float(np.abs(away).sum() / len(scores))


def least_calibration_error(scores: Floats, draws: int = 200) -> float:
    """Return the mean calibration error of outcomes that are drawn with these probabilities.

    It is what chance alone leaves of true probabilities, of so few clients.
    """
    rng = np.random.default_rng(0)
    found = [calibration_error(scores, rng.random(len(scores)) < scores) for _ in range(draws)]
    return float(np.mean(found))


@dataclass(frozen=True, slots=True)
class Decile:
    """A tenth of the clients, by their score: ``first`` the riskiest is 1.

    Args:
        number: 1 for the highest scores.
        clients, defaults: counts.
        mean_score: the mean probability.
        rate: of default.
        lift: that, by the rate of all.
        found: the share of all defaults that are in this tenth and those above.
    """

    number: int
    clients: int
    defaults: int
    mean_score: float
    rate: float
    lift: float
    found: float


def deciles(scores: Floats, default: Bools) -> list[Decile]:
    """Return the lift by tenths of the clients, the riskiest first."""
    order = np.argsort(-scores, kind="stable")
    overall, every, found = max(float(default.mean()), 1e-12), max(int(default.sum()), 1), 0
    rows = []
    for number, part in enumerate(np.array_split(order, _BINS), 1):
        if not len(part):
            continue
        defaults = int(default[part].sum())
        found += defaults
        rate = defaults / len(part)
        mean = float(scores[part].mean())
        rows.append(Decile(number, len(part), defaults, mean, rate, rate / overall, found / every))
    return rows


def stability(reference: Floats, scores: Floats) -> float:
    """Return the population stability index of scores against a reference, by its tenths.

    Below 0.1 nothing has moved; from 0.25 on the model is looked at (Siddiqi, 2006).

    >>> stability(np.arange(100.0), np.arange(100.0))
    0.0
    """
    edges = np.quantile(reference, np.linspace(0.0, 1.0, _BINS + 1)[1:-1])
    shares = [
        np.bincount(np.searchsorted(edges, each, side="right"), minlength=_BINS) / len(each)
        for each in (reference, scores)
    ]
    before, after = (np.maximum(share, _LEAST_SHARE) for share in shares)
    return float(np.sum((after - before) * np.log(after / before)))
