"""Choosing the scores from which events are reviewed and declined: by a budget, or by cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ConfigError, HistoryError
from engine.manifest import Thresholds
from models.costs import Costs
from models.ranking import last_of_ties, score_within

#: The ways to choose: see :class:`ThresholdRule`.
BUDGET, COST = "budget", "cost"

#: Fewer declined events than this say nothing about their precision.
_LEAST_DECLINED = 30


@dataclass(frozen=True, slots=True)
class ThresholdRule:
    """How thresholds are chosen.

    Args:
        by: ``budget`` for a number of alerts, ``cost`` for the least cost on labelled events.
        review_share: by budget, the share of the events that are alerted.
        alerts_per_day: by budget, how many are alerted in a day instead; 0 for the share.
        decline_precision: by budget, the least precision at which an event is declined.
        costs: by cost, what is weighed.

    Raises:
        ConfigError: a value is none of these.
    """

    by: str = BUDGET
    review_share: float = 0.005
    alerts_per_day: float = 0.0
    decline_precision: float = 0.9
    costs: Costs = field(default_factory=Costs)

    def __post_init__(self) -> None:
        if self.by not in (BUDGET, COST):
            raise ConfigError(
                f"thresholds must be chosen by {BUDGET!r} or {COST!r}, however: {self.by!r}"
            )
        for name in ("review_share", "decline_precision"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0.0 < value <= 1.0:
                raise ConfigError(f"{name} must be above 0 and at most 1, however: {value!r}")
        budget = self.alerts_per_day
        if not isinstance(budget, int | float) or not 0.0 <= budget < math.inf:
            raise ConfigError(
                f"alerts_per_day must be at least 0, however: {budget!r}; "
                "0 leaves it to review_share"
            )

    def choose(
        self,
        scores: NDArray[np.float32],
        labels: NDArray[np.bool_],
        amounts: NDArray[np.floating[Any]] | None,
        days: float,
    ) -> Thresholds:
        """Return the thresholds for a period.

        Args:
            scores: calibrated probabilities ``[n]``, of at least one event.
            labels: whether each is fraud ``[n]``.
            amounts: of each ``[n]``; None where events have none.
            days: how long the period is.

        Raises:
            ConfigError: by cost, and the events have no amounts.
            HistoryError: by cost, and the events lack a kind of label.
        """
        if self.by == COST:
            if amounts is None:
                raise ConfigError(
                    "thresholds by cost must have amounts, however: the events have none; "
                    "choose them by budget"
                )
            if not 0 < int(labels.sum()) < len(labels):
                raise HistoryError(
                    "thresholds by cost must be chosen on frauds and genuine events, however: of "
                    f"{len(labels):,} events {int(labels.sum()):,} are frauds; choose on others"
                )
            return thresholds_by_cost(scores, labels, amounts, self.costs)
        share = self.review_share
        if self.alerts_per_day:
            share = min(1.0, self.alerts_per_day * days / len(scores))
        return thresholds_by_budget(
            scores, labels, review_share=share, decline_precision=self.decline_precision
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what of it was used, as the manifest holds it."""
        if self.by == COST:
            return {"by": self.by, **asdict(self.costs)}
        budget = "alerts_per_day" if self.alerts_per_day else "review_share"
        names = (budget, "decline_precision")
        return {"by": self.by, **{name: getattr(self, name) for name in names}}


def described(rule: Mapping[str, Any]) -> str:
    """Return a rule, as :meth:`ThresholdRule.to_dict` gives it, as a sentence."""
    if rule.get("by") == COST:
        return (
            "The thresholds are those that would have cost the least on the events they were "
            f"chosen on, where a review costs {rule['review_cost']:g}, an approved fraud "
            f"{100 * rule['fraud_loss_share']:g} % of its amount, and a genuine event declined "
            f"{rule['decline_cost']:g}."
        )
    budget = (
        f"{rule['alerts_per_day']:g} alerts a day"
        if "alerts_per_day" in rule
        else f"{100 * rule['review_share']:g} % of the events"
    )
    precision = f"{100 * rule['decline_precision']:g} %"
    return (
        f"An event is reviewed from the score on that gives {budget}, and declined from the score "
        f"on that gives a precision of {precision}, or, where no score gives that, a tenth of the "
        "budget."
    )


def thresholds_by_budget(
    scores: NDArray[np.float32],
    labels: NDArray[np.bool_],
    *,
    review_share: float,
    decline_precision: float,
) -> Thresholds:
    """Return the thresholds for a budget of reviews.

    Review: the least score at which at most ``review_share`` of the events are reviewed. Decline:
    the least score above it at which the declined events are fraud with ``decline_precision``;
    where no score reaches that, the score of a tenth of the budget.

    Args:
        scores: probabilities of a validation period ``[n]``.
        labels: whether each is fraud ``[n]``.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    review = _at_budget(ranked, review_share)
    # an event's precision counts all those of the same score, so the last of a tie stands for it
    last = last_of_ties(ranked)
    precision = np.cumsum(labels[order])[last] / (last + 1)
    enough = last + 1 >= _LEAST_DECLINED
    good = last[enough & (precision >= decline_precision) & (ranked[last] >= review)]
    tenth = _at_budget(ranked, review_share / 10)
    decline = float(ranked[good[-1]]) if len(good) else tenth
    return Thresholds(review=review, decline=max(review, decline))


def thresholds_by_cost(
    scores: NDArray[np.float32],
    fraud: NDArray[np.floating[Any]] | NDArray[np.bool_],
    amounts: NDArray[np.floating[Any]],
    costs: Costs,
) -> Thresholds:
    """Return the thresholds with the least cost, of all pairs of scores.

    What both save together is a part that the review threshold decides (frauds' amounts caught,
    less a review for each alert) and one that the decline threshold decides (the reviews that
    declined events spare, less the genuine ones among them). So one sweep over the scores, with
    the best decline threshold so far kept along, finds the best pair of all. Of equal pairs, the
    one with the fewest alerts is taken.

    Args:
        scores: probabilities ``[n]``.
        fraud: whether each is fraud, for what it cost, or how likely, for the cost to expect;
            ``[n]``. Labels chose better than calibrated scores on the Handbook's transactions,
            where high scores were too low.
        amounts: of each ``[n]``.
        costs: what is weighed.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, odds = scores[order], fraud[order].astype(np.float64)
    last = last_of_ties(ranked)
    caught = np.cumsum(odds * amounts[order])[last]
    alerts = (last + 1).astype(np.float64)
    genuine = np.cumsum(1.0 - odds)[last]
    # place 0 is a threshold above all scores
    by_review = np.append(0.0, costs.fraud_loss_share * caught - costs.review_cost * alerts)
    by_decline = np.append(0.0, costs.review_cost * alerts - costs.decline_cost * genuine)
    best_decline = np.maximum.accumulate(by_decline)
    review = int(np.argmax(by_review + best_decline))
    decline = int(np.argmax(by_decline[: review + 1]))
    steps = np.append(_above(ranked), ranked[last].astype(np.float64))
    return Thresholds(review=float(steps[review]), decline=float(steps[decline]))


def _at_budget(ranked: NDArray[np.float32], share: float) -> float:
    """Return the least of the descending scores that at most ``share`` of them reach."""
    allowed = int(share * len(ranked))
    if allowed >= len(ranked):
        return float(ranked[-1])
    found = score_within(ranked, allowed)
    return _above(ranked) if found is None else found


def _above(ranked: NDArray[np.float32]) -> float:
    """Return a score above all of the descending ones, or 1 where there is none."""
    return min(1.0, float(np.nextafter(ranked[0], np.float32(2), dtype=np.float32)))
