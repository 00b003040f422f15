"""The figures by which forecasts of quantiles are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.packs.market.coverage import christoffersen, kupiec

Floats: TypeAlias = NDArray[np.floating[Any]]

LEVELS = (0.01, 0.05, 0.5, 0.95, 0.99)

#: A coverage test rejects below this p-value.
REJECTED = 0.05


@dataclass(frozen=True, slots=True)
class SecurityFigures:
    """How good the quantiles of one security are.

    Args:
        security: its name.
        days: how many forecasts have a return.
        pinball: the mean pinball loss of each of :data:`LEVELS` (Koenker & Bassett, 1978), in
            percent of the price.
        below: the share of returns below each quantile.
        kupiec_01, kupiec_05, christoffersen_01, christoffersen_05: p-values of the coverage tests.
    """

    security: str
    days: int
    pinball: tuple[float, ...]
    below: tuple[float, ...]
    kupiec_01: float
    kupiec_05: float
    christoffersen_01: float
    christoffersen_05: float

    @classmethod
    def of(cls, security: str, quantiles: Floats, returns: Floats) -> SecurityFigures:
        """Return the figures of quantiles ``[n, 5]`` and the returns that came, ``[n]``."""
        away = returns[:, None] - quantiles
        levels = np.array(LEVELS)
        losses = np.maximum(levels * away, (levels - 1.0) * away)
        beyond = away < 0.0
        return cls(
            security=security,
            days=len(returns),
            pinball=tuple((100.0 * losses.mean(axis=0)).tolist()),
            below=tuple(beyond.mean(axis=0).tolist()),
            kupiec_01=kupiec(beyond[:, 0], 0.01),
            kupiec_05=kupiec(beyond[:, 1], 0.05),
            christoffersen_01=christoffersen(beyond[:, 0], 0.01),
            christoffersen_05=christoffersen(beyond[:, 1], 0.05),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return them as JSON holds them."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Summary:
    """The mean over securities.

    Args:
        securities: how many.
        pinball, below: means, as in :class:`SecurityFigures`.
        held: for each coverage test, of how many securities it does not reject.
    """

    securities: int
    pinball: tuple[float, ...]
    below: tuple[float, ...]
    held: Mapping[str, int]

    @classmethod
    def of(cls, each: list[SecurityFigures]) -> Summary:
        """Return the means of one security or more."""
        tests = ("kupiec_01", "kupiec_05", "christoffersen_01", "christoffersen_05")
        return cls(
            securities=len(each),
            pinball=tuple(np.mean([own.pinball for own in each], axis=0).tolist()),
            below=tuple(np.mean([own.below for own in each], axis=0).tolist()),
            held={name: sum(getattr(own, name) > REJECTED for own in each) for name in tests},
        )

    def to_dict(self) -> dict[str, Any]:
        """Return them as JSON holds them."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Rises:
    """How good the probability of a rise is, beside saying the usual rate every day.

    Args:
        days, rate: how many returns there are, and the share that are rises.
        mean: the mean probability.
        accuracy: the share of days on which the likelier side came.
        usual_accuracy: the same of the commoner side, said every day.
        brier, usual_brier: the mean square distance, and that of the usual rate.
    """

    days: int
    rate: float
    mean: float
    accuracy: float
    usual_accuracy: float
    brier: float
    usual_brier: float

    @classmethod
    def of(cls, probability: Floats, returns: Floats) -> Rises:
        """Return the figures of probabilities ``[n]`` and the returns that came, ``[n]``."""
        rose = returns > 0.0
        rate = float(rose.mean())
        return cls(
            days=len(rose),
            rate=rate,
            mean=float(probability.mean()),
            accuracy=float(((probability > 0.5) == rose).mean()),
            usual_accuracy=max(rate, 1.0 - rate),
            brier=float(np.mean((probability - rose) ** 2)),
            usual_brier=rate * (1.0 - rate),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return them as JSON holds them."""
        return asdict(self)
