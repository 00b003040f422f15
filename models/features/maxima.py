"""The largest amount of the last minutes, hours and days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from engine.layout import StateField
from models.features.base import Context, Feature, FeatureResult, Output
from models.features.days import Days


class Maxima(Feature):
    """``max_Wh``: the largest amount of the earlier events in each window; 0 if there is none.

    Windows are those of :class:`models.features.windows.Windows`, and so is what is exact. Beyond
    the ring the days that lie in the window, even in part, give it: the figure is then at least
    the window's largest amount, and at most that of the window and the day that its start cuts.
    Amounts are taken to be 0 or more.

    Args:
        hours: the windows, in hours; at most 31 days.
    """

    def __init__(self, hours: Sequence[float] = (1, 24, 168, 720)) -> None:
        super().__init__()
        self.days = Days(hours)
        self.outputs = tuple(Output(f"max_{each:g}h", "past_amounts") for each in hours)
        self.state = (StateField("day_maxima", "float32", (self.days.count,)),)

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        age_ms = self.days.ages(context)
        held = torch.where(self.days.held(context, age_ms), state["day_maxima"], 0.0)
        inside = self.days.in_ring(context)
        exact = torch.where(inside, context.ring_amount[:, None], 0.0).amax(2)
        touched = self.days.shares(age_ms) > 0.0
        coarse = torch.where(touched, held[:, None], 0.0).amax(2)
        full = inside.float().sum(2) > context.ring_amount.shape[1] - 0.5
        figures = torch.where(full, torch.maximum(exact, coarse), exact)
        own = torch.where(self.days.own(context, age_ms), context.amount, 0.0)
        return FeatureResult((figures,), {"day_maxima": torch.maximum(held, own)})
