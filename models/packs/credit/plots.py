"""The figures of the credit pack's report. They need Matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.confidence import wilson
from models.packs.credit.figures import Decile
from models.report import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 20


def calibration_figure(scores: NDArray[np.floating[Any]], default: NDArray[np.bool_]) -> Figure:
    """Draw the rate of default over the probability, with intervals of 95 %."""
    from models.report.figures import SERIES, SOFT, draw

    parts = [each for each in np.array_split(np.argsort(scores), _BINS) if len(each)]

    def plot(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=SOFT, linestyle=":", linewidth=1.2)
        for part in parts:
            score, count = float(scores[part].mean()), int(default[part].sum())
            bound = wilson(count, len(part))
            if bound is not None:
                axes.plot([score] * 2, [bound.low, bound.high], color=SERIES[0], alpha=0.5)
            axes.plot([score], [count / len(part)], "o", color=SERIES[0], markersize=5)
        axes.set(title="Calibration", xlabel="probability of default", ylabel="rate of default")

    return Figure(
        draw(plot),
        "The rate of default over the probability.",
        "Twentieths of the clients; on the dotted line a probability is the rate. Bars: 95 %.",
    )


def gain_figure(table: Sequence[Decile]) -> Figure:
    """Draw the share of the defaults that are found among the riskiest tenths."""
    from models.report.figures import SERIES, SOFT, draw

    def plot(axes: Axes) -> None:
        x = np.linspace(0.0, 1.0, len(table) + 1)
        axes.plot([0, 1], [0, 1], color=SOFT, linestyle=":", linewidth=1.2)
        axes.plot(x, [0.0, *(each.found for each in table)], "o-", color=SERIES[0], markersize=4)
        axes.set(title="Gain", xlabel="share of the clients", ylabel="share of the defaults")

    return Figure(
        draw(plot),
        "The share of the defaults found over the share of the clients, the riskiest first.",
    )
