"""Where a scorer fails: the same figures for parts of the events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from engine.manifest import Thresholds
from models.evaluation.confidence import Interval, wilson
from models.evaluation.judged import Judged
from models.evaluation.metrics import ranking
from models.features.base import DAY_MS

#: From how many earlier events on an account is better known.
_KNOWN_FROM = (0, 1, 10, 50, 200)

#: The quantiles that part small, middling, large and very large amounts.
_AMOUNTS = (0.25, 0.75, 0.99)


@dataclass(frozen=True, slots=True)
class Slice:
    """The figures of a part of the events. A figure that they do not allow is None.

    Args:
        group, name: what the events are parted by, and which part this is.
        events, frauds: how many.
        rate, score: the rate of fraud, and the mean score.
        average_precision: within the part.
        share, precision, recall: of the alerts, from the review threshold on.
        precision_interval, recall_interval: of 95 %.
        missed_amount: the amounts of the frauds that no alert finds.
    """

    group: str
    name: str
    events: int
    frauds: int
    rate: float | None
    score: float | None
    average_precision: float | None
    share: float | None
    precision: float | None
    precision_interval: Interval | None
    recall: float | None
    recall_interval: Interval | None
    missed_amount: float | None


def slices(judged: Judged, thresholds: Thresholds) -> list[Slice]:
    """Return the figures by scenario, by what is known of the account, by amount, and by week.

    A scenario's part is its frauds and all genuine events: these have no scenario. Parts without
    events are left out.
    """
    parts = (
        *_scenarios(judged),
        *_by_knowledge(judged),
        *_by_amount(judged),
        *_by_week(judged),
    )
    return [
        _slice(group, name, judged.take(keep), thresholds)
        for group, name, keep in parts
        if keep.any()
    ]


_Parts = Iterator[tuple[str, str, NDArray[np.bool_]]]


def _scenarios(judged: Judged) -> _Parts:
    if judged.scenario is None:
        return
    for name in sorted({str(each) for each in judged.scenario[judged.fraud]}, key=_natural):
        yield "fraud scenario", name, ~judged.fraud | (judged.scenario == name)


def _natural(name: str) -> tuple[int, str]:
    """Order numbers by their value, before texts."""
    return (int(name), "") if name.isdigit() else (1 << 62, name)


def _by_knowledge(judged: Judged) -> _Parts:
    for low, high in zip(_KNOWN_FROM, (*_KNOWN_FROM[1:], None), strict=True):
        if high is None:
            yield "account's earlier events", f"{low} or more", judged.earlier >= low
            continue
        name = "none, a new account" if high == 1 else f"{low} to {high - 1}"
        yield (
            "account's earlier events",
            name,
            (judged.earlier >= low) & (judged.earlier < high),
        )


def _by_amount(judged: Judged) -> _Parts:
    if judged.amounts is None or not len(judged):
        return
    steps = np.unique(np.quantile(judged.amounts, _AMOUNTS))
    part = np.searchsorted(steps, judged.amounts, side="right")
    for number in range(len(steps) + 1):
        if number == 0:
            name = f"below {steps[0]:,.2f}"
        elif number == len(steps):
            name = f"{steps[-1]:,.2f} or more"
        else:
            name = f"{steps[number - 1]:,.2f} to {steps[number]:,.2f}"
        yield "amount", name, part == number


def _by_week(judged: Judged) -> _Parts:
    week = (judged.day + 3) // 7  # 1970-01-01 was a Thursday
    for number in np.unique(week).tolist():
        monday = datetime.fromtimestamp((number * 7 - 3) * DAY_MS / 1000, UTC)
        yield "week from", monday.strftime("%Y-%m-%d"), week == number


def _slice(group: str, name: str, part: Judged, thresholds: Thresholds) -> Slice:
    alerted = part.scores >= np.float32(thresholds.review)
    alerts, frauds = int(alerted.sum()), int(part.fraud.sum())
    hits = int((alerted & part.fraud).sum())
    missed = None
    if part.amounts is not None:
        missed = float(part.amounts[part.fraud & ~alerted].sum())
    return Slice(
        group=group,
        name=name,
        events=len(part),
        frauds=frauds,
        rate=frauds / len(part),
        score=float(np.mean(part.scores, dtype=np.float64)),
        average_precision=ranking(part.scores, part.fraud)[1],
        share=alerts / len(part),
        precision=hits / alerts if alerts else None,
        precision_interval=wilson(hits, alerts),
        recall=hits / frauds if frauds else None,
        recall_interval=wilson(hits, frauds),
        missed_amount=missed,
    )
