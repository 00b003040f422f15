"""All that is found about scores on judged events, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from engine.manifest import Thresholds
from models.costs import Costs
from models.evaluation.confidence import Interval, ranking_intervals
from models.evaluation.curves import Bin, reliability_bins
from models.evaluation.judged import Judged
from models.evaluation.metrics import Metrics, metrics
from models.evaluation.money import Alerts, Money, actions, budgets, money
from models.evaluation.slices import Slice, slices


@dataclass(frozen=True, slots=True)
class Assessment:
    """What :func:`assess` finds.

    Args:
        judged: the events.
        thresholds, costs: as given.
        metrics: ranking and calibration.
        auc_roc_interval, average_precision_interval: of 95 %.
        actions: what is declined, reviewed, and both.
        budgets: what so many alerts a day would find.
        money: what fraud costs and the thresholds save; None where events have no amounts.
        slices: where it fails.
        reliability: scores and rates of fraud.
        baselines: other models' scores of the same events, by name; float32 ``[n]`` each.
    """

    judged: Judged
    thresholds: Thresholds
    costs: Costs
    metrics: Metrics
    auc_roc_interval: Interval | None
    average_precision_interval: Interval | None
    actions: Mapping[str, Alerts]
    budgets: Sequence[Alerts]
    money: Money | None
    slices: Sequence[Slice]
    reliability: Sequence[Bin]
    baselines: Mapping[str, Judged] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON holds them: those of :class:`Metrics` on top."""
        times = self.judged.event_time_ms
        return {
            **self.metrics.to_dict(),
            "first_event_ms": int(times.min()) if len(times) else None,
            "last_event_ms": int(times.max()) if len(times) else None,
            "days": self.judged.days,
            "auc_roc_interval": _dict(self.auc_roc_interval),
            "average_precision_interval": _dict(self.average_precision_interval),
            "thresholds": asdict(self.thresholds),
            "costs": asdict(self.costs),
            "actions": {name: asdict(each) for name, each in self.actions.items()},
            "alerts_per_day": [asdict(each) for each in self.budgets],
            "money": None if self.money is None else asdict(self.money),
            "slices": [asdict(each) for each in self.slices],
            "reliability": [asdict(each) for each in self.reliability],
            "baselines": {name: metrics(each).to_dict() for name, each in self.baselines.items()},
        }


def assess(
    judged: Judged,
    thresholds: Thresholds,
    costs: Costs,
    baselines: Mapping[str, Judged] | None = None,
) -> Assessment:
    """Find out how good scores are.

    Args:
        judged: the events and their scores; may be none.
        thresholds: from which score on they are reviewed and declined.
        costs: what is weighed.
        baselines: the same events with other models' scores, by the models' names.
    """
    found = actions(judged, thresholds, costs)
    auc_interval, average_interval = ranking_intervals(judged)
    return Assessment(
        judged=judged,
        thresholds=thresholds,
        costs=costs,
        metrics=metrics(judged, thresholds),
        auc_roc_interval=auc_interval,
        average_precision_interval=average_interval,
        actions=found,
        budgets=budgets(judged, costs),
        money=money(judged, found, costs),
        slices=slices(judged, thresholds),
        reliability=reliability_bins(judged.scores, judged.fraud),
        baselines=baselines or {},
    )


def _dict(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else asdict(interval)
