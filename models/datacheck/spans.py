"""The training's and the test's periods, as the checks compare them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.config import TrainConfig
from models.periods import Bounds


@dataclass(frozen=True, slots=True)
class Spans:
    """The periods, in ms since 1970.

    Args:
        until: the first moment after the training's history, validation included.
        test_from: the first moment of the test's; nothing is compared with what lies between.
        is_validation: whether the test's period is the training's own validation, since nothing
            else was said.
    """

    until: int
    test_from: int
    is_validation: bool

    @classmethod
    def of(
        cls,
        times: NDArray[np.int64],
        config: TrainConfig,
        until_ms: int | None,
        from_ms: int | None,
    ) -> Spans:
        """Return the periods.

        Args:
            times: of the events, ascending; int64 ``[m]``, at least one.
            config: how long the validation is.
            until_ms: where the training's history ends; None for where the test begins.
            from_ms: where the test begins; None for where the training's history ends.
        """
        if until_ms is not None:
            return cls(until_ms, until_ms if from_ms is None else from_ms, False)
        if from_ms is not None:
            return cls(from_ms, from_ms, False)
        bounds = Bounds.of(int(times[0]), int(times[-1]), config)
        return cls(bounds.end, bounds.validate_from, True)

    @property
    def test_name(self) -> str:
        """What the test's period is called."""
        return "validation" if self.is_validation else "test"

    def training(self, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which times are compared as the training's; bool, as long as ``times``."""
        return times < min(self.until, self.test_from)

    def test(self, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which times are compared as the test's; bool, as long as ``times``."""
        return times >= self.test_from
