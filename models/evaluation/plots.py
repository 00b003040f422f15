"""The figures of an evaluation's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from engine.manifest import Thresholds
from models.evaluation.assessment import Assessment
from models.evaluation.confidence import wilson
from models.evaluation.curves import (
    Bin,
    alert_curve,
    log_odds_histogram,
    precision_recall,
)
from models.evaluation.judged import Judged
from models.report import Figure
from models.report.figures import INK, SERIES, SOFT, draw

_PERCENT = FuncFormatter(lambda value, _: f"{100 * value:g} %")
_PLAIN = FuncFormatter(lambda value, _: f"{value:,g}")
_SCORES = (1e-5, 1e-4, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)


def figures(found: Assessment) -> dict[str, Figure]:
    """Draw all that the events allow, by name; none where there are no frauds or only frauds."""
    judged = found.judged
    if not 0 < int(judged.fraud.sum()) < len(judged):
        return {}
    marks = {"thresholds": found.actions["alerted"].per_day}
    return {
        "alerts": alerts_figure(judged, marks),
        "precision_recall": precision_recall_figure(judged, found.baselines),
        "distribution": distribution_figure(judged, found.thresholds),
        "reliability": reliability_figure(found.reliability),
    }


def precision_recall_figure(judged: Judged, others: Mapping[str, Judged]) -> Figure:
    """Draw precision over recall, of the scorer and of other models on the same events."""

    def plot(axes: Axes) -> None:
        models = {"this model": judged, **others}
        for colour, (name, each) in zip(SERIES, models.items(), strict=False):
            recall, precision = precision_recall(each.scores, each.fraud)
            axes.plot(
                recall, precision, color=colour, label=name, zorder=3 if each is judged else 2
            )
        rate = float(judged.fraud.mean())
        axes.axhline(rate, color=SOFT, linestyle=":", linewidth=1.2, label="at random")
        axes.set(title="Precision and recall", xlabel="recall", ylabel="precision")
        axes.set(xlim=(0, 1), ylim=(0, 1.03))
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 0.04))

    return Figure(
        draw(plot),
        "Precision over recall.",
        "How many alerts are frauds, over the share of the frauds that are found.",
    )


def reliability_figure(bins: Sequence[Bin]) -> Figure:
    """Draw the rate of fraud over the score, with intervals of 95 %."""

    def plot(axes: Axes) -> None:
        shown = [each for each in bins if each.score > 0]
        scores = np.array([each.score for each in shown])
        rates = np.array([each.rate for each in shown])
        bounds = [wilson(each.frauds, each.events) for each in shown]
        least = min([1e-4, *scores.tolist()])
        axes.plot([least, 1], [least, 1], color=SOFT, linestyle=":", linewidth=1.2)
        for score, bound in zip(scores, bounds, strict=True):
            if bound is not None:
                axes.plot(
                    [score] * 2, [max(bound.low, least), bound.high], color=SERIES[0], alpha=0.5
                )
        axes.plot(scores, np.maximum(rates, least), "o", color=SERIES[0], markersize=5)
        axes.set(xscale="log", yscale="log", xlabel="score", ylabel="rate of fraud")
        axes.set(title="Calibration", xlim=(least, 1.3), ylim=(least, 1.3))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(_PERCENT)
            axis.set_minor_formatter(NullFormatter())

    return Figure(
        draw(plot),
        "The rate of fraud over the score.",
        "On the dotted line a score is the rate of fraud. Bars: 95 % intervals.",
    )


def distribution_figure(judged: Judged, thresholds: Thresholds) -> Figure:
    """Draw how the scores of frauds and of genuine events are spread."""
    edges, genuine, fraud = log_odds_histogram(judged.scores, judged.fraud)

    def plot(axes: Axes) -> None:
        for share, colour, name in ((genuine, SERIES[2], "genuine"), (fraud, SERIES[1], "fraud")):
            axes.stairs(share, edges, color=colour, fill=True, alpha=0.35, linewidth=0)
            axes.stairs(share, edges, color=colour, linewidth=1.6, label=name)
        for score, name in ((thresholds.review, "review"), (thresholds.decline, "decline")):
            at = _log_odds(score)
            if edges[0] <= at <= edges[-1]:
                _mark(axes, at, name, "top")
        ticks = [each for each in _SCORES if edges[0] <= _log_odds(each) <= edges[-1]]
        axes.set_xticks([_log_odds(each) for each in ticks], [f"{100 * t:g} %" for t in ticks])
        axes.yaxis.set_major_formatter(_PERCENT)
        axes.set(title="Scores", xlabel="score (scale of log-odds)", ylabel="share of its kind")
        axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.93))

    return Figure(
        draw(plot),
        "How scores of frauds and of genuine events are spread.",
        "Each kind adds up to 100 %. Dashed: the thresholds.",
    )


def alerts_figure(judged: Judged, marks: Mapping[str, float]) -> Figure:
    """Draw the share of the fraud that is found over the number of alerts a day.

    Args:
        judged: the events.
        marks: numbers of alerts a day to mark, by name.
    """
    found = alert_curve(judged.scores, judged.fraud, judged.amounts, judged.days)

    def plot(axes: Axes) -> None:
        axes.plot(found.per_day, found.frauds, color=SERIES[0], label="frauds")
        if found.amount is not None:
            axes.plot(found.per_day, found.amount, color=SERIES[1], label="their amounts")
        for name, per_day in marks.items():
            if per_day > 0:
                _mark(axes, per_day, name, "bottom")
        axes.set(xscale="log", ylim=(0, 1.03), xlabel="alerts a day", ylabel="share found")
        axes.xaxis.set_major_formatter(_PLAIN)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(_PERCENT)
        axes.set(title="Alerts and what they find")
        axes.legend(loc="upper left")

    return Figure(
        draw(plot),
        "The share of the frauds found over the number of alerts a day.",
        "What a day's alerts find, if the highest scores are looked at.",
    )


def _mark(axes: Axes, x: float, name: str, where: Literal["top", "bottom"]) -> None:
    """Draw a dashed line at ``x``, with its name at one of its ends."""
    axes.axvline(x, color=INK, linewidth=1.0, linestyle="--")
    axes.annotate(
        name,
        (x, 0.98 if where == "top" else 0.02),
        xycoords=("data", "axes fraction"),
        xytext=(4, 0),
        textcoords="offset points",
        va=where,
        fontsize=9,
        color=INK,
    )


def _log_odds(score: float) -> float:
    bounded = min(max(score, 1e-7), 1 - 1e-7)
    return float(np.log(bounded / (1 - bounded)))
