"""What alerts find, cost and save, at the thresholds and at other numbers of alerts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.manifest import Thresholds
from models.costs import Costs
from models.evaluation.confidence import Interval, wilson
from models.evaluation.judged import Judged
from models.ranking import score_within
from models.thresholds import thresholds_by_cost

#: The numbers of alerts a day that are shown, as far as there are so many events.
_BUDGETS = (10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)


@dataclass(frozen=True, slots=True)
class Alerts:
    """What becomes of some of the events. A figure that the events do not allow is None.

    Args:
        score: the least score among those for which there is a threshold; None for a band.
        alerts, per_day, share: how many, in a day, and of all events.
        frauds, precision, recall: how many frauds are among them, of these, and of all frauds.
        precision_interval, recall_interval: of 95 %.
        amount, amount_recall: the frauds' amounts, and their share of all frauds' amounts.
        saved: see :meth:`models.costs.Costs.saved`.
    """

    score: float | None
    alerts: int
    per_day: float
    share: float | None
    frauds: int
    precision: float | None
    precision_interval: Interval | None
    recall: float | None
    recall_interval: Interval | None
    amount: float | None
    amount_recall: float | None
    saved: float | None


@dataclass(frozen=True, slots=True)
class Money:
    """The fraud that there is, and what thresholds save of it.

    Args:
        fraud_amount: of all frauds.
        loss: what approving everything costs.
        saved: what the thresholds save; may be negative.
        best: the thresholds that would have saved the most on these events, known afterwards.
        best_saved: what these would have saved.
    """

    fraud_amount: float
    loss: float
    saved: float
    best: Thresholds
    best_saved: float


def actions(judged: Judged, thresholds: Thresholds, costs: Costs) -> dict[str, Alerts]:
    """Return what is declined, what is reviewed, and both together (``alerted``)."""
    declined = judged.scores >= np.float32(thresholds.decline)
    alerted = judged.scores >= np.float32(thresholds.review)
    reviewed = alerted & ~declined
    nothing = np.zeros_like(declined)
    return {
        "declined": alerts_of(judged, nothing, declined, costs, thresholds.decline),
        "reviewed": alerts_of(judged, reviewed, nothing, costs),
        "alerted": alerts_of(judged, reviewed, declined, costs, thresholds.review),
    }


def budgets(judged: Judged, costs: Costs) -> list[Alerts]:
    """Return what so many alerts a day find and save, all of them reviewed and none declined."""
    return list(_budgets(judged, costs))


def _budgets(judged: Judged, costs: Costs) -> Iterator[Alerts]:
    ranked = np.sort(judged.scores)[::-1]
    nothing = np.zeros(len(judged), dtype=np.bool_)
    for budget in _BUDGETS:
        number = int(budget * judged.days)
        if number >= len(ranked):
            return
        score = score_within(ranked, number)
        if score is not None:
            yield alerts_of(judged, judged.scores >= np.float32(score), nothing, costs, score)


def alerts_of(
    judged: Judged,
    reviewed: NDArray[np.bool_],
    declined: NDArray[np.bool_],
    costs: Costs,
    score: float | None = None,
) -> Alerts:
    """Return what becomes of the events that are reviewed and declined; bool ``[n]`` each."""
    chosen = reviewed | declined
    alerts, frauds = int(chosen.sum()), int((chosen & judged.fraud).sum())
    positives = int(judged.fraud.sum())
    amount = amount_recall = saved = None
    if judged.amounts is not None:
        amount = float(judged.amounts[chosen & judged.fraud].sum())
        every = float(judged.amounts[judged.fraud].sum())
        amount_recall = amount / every if every else None
        saved = costs.saved(amount, int(reviewed.sum()), int((declined & ~judged.fraud).sum()))
    return Alerts(
        score=score,
        alerts=alerts,
        per_day=alerts / judged.days,
        share=alerts / len(judged) if len(judged) else None,
        frauds=frauds,
        precision=frauds / alerts if alerts else None,
        precision_interval=wilson(frauds, alerts),
        recall=frauds / positives if positives else None,
        recall_interval=wilson(frauds, positives),
        amount=amount,
        amount_recall=amount_recall,
        saved=saved,
    )


def money(judged: Judged, found: Mapping[str, Alerts], costs: Costs) -> Money | None:
    """Return what fraud costs and what thresholds save; None without events or their amounts.

    Args:
        judged: the events.
        found: what :func:`actions` returned for them.
        costs: what is weighed.
    """
    saved = found["alerted"].saved
    if judged.amounts is None or saved is None or not len(judged):
        return None
    best = thresholds_by_cost(judged.scores, judged.fraud, judged.amounts, costs)
    fraud_amount = float(judged.amounts[judged.fraud].sum())
    return Money(
        fraud_amount=fraud_amount,
        loss=costs.fraud_loss_share * fraud_amount,
        saved=saved,
        best=best,
        best_saved=actions(judged, best, costs)["alerted"].saved or 0.0,
    )
