"""How likely a shared entity is in the middle of an outbreak of fraud."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor

from engine.shared import SharedEntity
from models.features.base import DAY_S, Context, FeatureResult, Output
from models.features.entity import EntityFeature
from models.features.evidence import likely


class EntityOutbreak(EntityFeature):
    """``<entity>_outbreak``: the log-odds that the entity is compromised now.

    A compromise begins at a rate of ``a_day``, lasts ``days``, and in it each known event shifts
    the log-likelihood by the weights of the quantities that it counts in. Its begin is one of the
    buckets' edges. The odds are the sum of the likelihoods of those that have not ended, each
    times its prior, over one plus the sum of those that have. (A posterior over one change point,
    as in Shiryaev, 1963, with a known length.)

    Labels come ``delay_days`` after their events, so that of the last ``delay_days`` nothing is
    known, and a compromise may have begun in them.

    Args:
        entity, group: see :class:`EntityFeature`.
        evidence: quantity to its weight, in log-odds.
        days: how long a compromise lasts.
        a_day: how likely one begins on a day.
        delay_days: how long labels take.
    """

    covered: Tensor
    active: Tensor

    def __init__(
        self,
        entity: SharedEntity,
        evidence: Mapping[str, float],
        days: float = 28.0,
        a_day: float = 2e-4,
        delay_days: float = 7.0,
        group: str | None = None,
    ) -> None:
        super().__init__(entity, group)
        if not evidence or not days > 0 or not 0 < a_day < 1 or delay_days < 0:
            raise ValueError(
                "evidence must not be empty, days be above 0, a_day between 0 and 1 and "
                f"delay_days 0 or more: {dict(evidence)}, {days}, {a_day}, {delay_days}"
            )
        width = entity.bucket_s / DAY_S
        self.weights = [(self.place(name), weight) for name, weight in evidence.items()]
        begins = torch.arange(1, round((entity.buckets * width + delay_days) / width) + 1) * width
        ages = (torch.arange(entity.buckets) + 0.5) * width + delay_days
        covered = (ages[:, None] < begins) & (ages[:, None] > begins - days)
        self.prior = math.log(a_day * width)
        self.register_buffer("covered", covered.float(), persistent=False)
        self.register_buffer("active", (begins <= days).float()[:, None], persistent=False)
        self.outputs = (Output(f"{entity.name}_outbreak", self.group),)

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        # Quantity by quantity: a product along an axis of two or three takes ONNX Runtime ten times
        # as long.
        parts = [self.buckets(context, place) * weight for place, weight in self.weights]
        evidence = reduce(torch.add, parts)
        begun = likely(evidence @ self.covered, self.prior)
        now = begun @ self.active
        past = begun @ (1.0 - self.active)
        return FeatureResult((torch.log(now) - torch.log1p(past),), {})
