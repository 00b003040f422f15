"""How many events, and how much money, in the last minutes, hours and days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from engine.layout import StateField
from models.features.base import Context, Feature, FeatureResult, Output
from models.features.days import Days


class Windows(Feature):
    """``count``, ``sum`` and ``mean`` of the earlier events' amounts in each window.

    A window of ``w`` is ``(now - w, now]``, without the present event. While fewer events of the
    ring are in a window than the ring holds, the ring gives the exact figure. Beyond that, daily
    buckets give it, with the day that the window's start cuts taken in proportion: the
    error is then less than the count (the sum) of that one day. Windows of less than a day have
    no buckets: their count ends at the ring's length. An event that arrives more than a ring's
    length of events late may miss in a window that the ring covers.

    An event older than the account's last goes to the bucket of its own day if that is still
    held, and else to none.

    Args:
        hours: the windows, in hours; at most 31 days.
    """

    def __init__(self, hours: Sequence[float] = (1, 24, 168, 720)) -> None:
        super().__init__()
        self.days = Days(hours)
        names = [f"{what}_{each:g}h" for what in ("count", "sum", "mean") for each in hours]
        self.outputs = tuple(Output(name, "frequency") for name in names)
        self.state = (StateField("day_buckets", "float32", (2, self.days.count)),)

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        age_ms = self.days.ages(context)
        keep = self.days.held(context, age_ms).float()
        held = state["day_buckets"].reshape(-1, 2, self.days.count) * keep[:, None]
        exact = self._from_ring(context)
        coarse = held @ self.days.shares(age_ms).mT
        full = exact[:, :1] > context.ring_amount.shape[1] - 0.5
        figures = torch.where(full, torch.maximum(exact, coarse), exact).flatten(1)
        count, total = figures.chunk(2, dim=1)
        mean = total / count.clamp(min=1.0)
        own = self.days.own(context, age_ms).float()
        added = held.flatten(1) + torch.cat((own, own * context.amount), dim=1)
        return FeatureResult((figures, mean), {"day_buckets": added})

    def _from_ring(self, context: Context) -> Tensor:
        """Return count and sum of the ring's events in each window: ``[B, 2, windows]``."""
        inside = self.days.in_ring(context).float()
        ring = torch.cat((context.ring_held.float(), context.ring_amount), dim=1)
        return ring.reshape(-1, 2, context.ring_amount.shape[1]) @ inside.mT
