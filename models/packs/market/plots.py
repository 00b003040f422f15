"""The figures of the market pack's report. They need Matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.report import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def quantile_figure(
    security: str,
    time_ms: NDArray[np.int64],
    returns: NDArray[np.float64],
    quantiles: NDArray[np.float64],
) -> Figure:
    """Draw a security's returns, and the quantiles that were forecast of each."""
    from models.report.figures import INK, SERIES, draw

    days = time_ms.astype("datetime64[ms]")
    values, bounds = 100.0 * returns, 100.0 * quantiles

    def plot(axes: Axes) -> None:
        for low, high, alpha in ((0, 4, 0.15), (1, 3, 0.25)):
            axes.fill_between(
                days, bounds[:, low], bounds[:, high], color=SERIES[0], alpha=alpha, linewidth=0
            )
        beyond = values < bounds[:, 0]
        axes.plot(days[~beyond], values[~beyond], ".", color=INK, markersize=3)
        axes.plot(days[beyond], values[beyond], "o", color=SERIES[1], markersize=5)
        axes.set(title=security, ylabel="return, %")

    return Figure(
        draw(plot, width=7.5, height=2.8),
        f"The returns of {security} and the forecast quantiles.",
        "Bands: 1 to 99 % and 5 to 95 %. Large points: losses beyond the 1 % quantile.",
    )
