"""How many events, and how much money, in the last hours and days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from engine.layout import StateField
from models.features.base import DAY_MS, Context, Feature, FeatureResult, Output

#: One more than the days of the longest window, so that its boundary day is held too.
_BUCKETS = 32
_DAY_H = 24.0


class Windows(Feature):
    """``count``, ``sum`` and ``mean`` of the earlier events' amounts in each window.

    A window of ``w`` is ``(now - w, now]``, without the present event. While fewer events of the
    ring are in a window than the ring holds, the ring gives the exact figure. Beyond that, 32
    daily buckets give it, with the day that the window's start cuts taken in proportion: the
    error is then less than the count (the sum) of that one day. Windows of less than a day have
    no buckets: their count ends at the ring's length. An event that arrives more than a ring's
    length of events late may miss in a window that the ring covers.

    A bucket is a UTC day modulo 32. An event older than the account's last goes to the bucket of
    its own day if that is still held, and else to none.

    Args:
        hours: the windows, in hours; at most 31 days.
    """

    starts: Tensor
    reach: Tensor
    within: Tensor

    def __init__(self, hours: Sequence[float] = (1, 24, 168, 720)) -> None:
        super().__init__()
        if not hours or max(hours) > (_BUCKETS - 1) * _DAY_H:
            raise ValueError(f"windows must be at most 31 days, however: {list(hours)} hours")
        reach = [each / _DAY_H + 1.0 if each >= _DAY_H else -1.0 for each in hours]
        within = [round(each * DAY_MS / _DAY_H) for each in hours]
        starts = torch.arange(_BUCKETS)[None] * DAY_MS
        self.register_buffer("starts", starts, persistent=False)
        self.register_buffer("reach", torch.tensor(reach)[:, None], persistent=False)
        self.register_buffer("within", torch.tensor(within)[:, None], persistent=False)
        names = [f"{what}_{each:g}h" for what in ("count", "sum", "mean") for each in hours]
        self.outputs = tuple(Output(name, "frequency") for name in names)
        self.state = (StateField("day_buckets", "float32", (2, _BUCKETS)),)

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        # how long before now the day of each bucket began
        age_ms = torch.remainder(context.now_ms - self.starts, _BUCKETS * DAY_MS)
        # a bucket that began after the account's last event is of a day that has gone by
        keep = (age_ms >= context.gap_ms)[:, None]
        held = torch.where(keep, state["day_buckets"].reshape(-1, 2, _BUCKETS), 0.0)
        exact = self._from_ring(context)
        coarse = self._from_buckets(held, age_ms)
        full = exact[:, :1] > context.ring_amount.shape[1] - 0.5
        figures = torch.where(full, torch.maximum(exact, coarse), exact).flatten(1)
        count, total = figures.chunk(2, dim=1)
        mean = total / count.clamp(min=1.0)
        added = held.flatten(1) + self._event(context, age_ms)
        return FeatureResult((figures, mean), {"day_buckets": added})

    def _from_ring(self, context: Context) -> Tensor:
        """Return count and sum of the ring's events in each window: ``[B, 2, windows]``."""
        inside = (context.ring_age_ms[:, None] < self.within).float()
        ring = torch.cat((context.ring_held.float(), context.ring_amount), dim=1)
        return ring.reshape(-1, 2, context.ring_amount.shape[1]) @ inside.mT

    def _from_buckets(self, held: Tensor, age_ms: Tensor) -> Tensor:
        """Return count and sum of the buckets in each window: ``[B, 2, windows]``."""
        age_days = age_ms.float() * (1.0 / DAY_MS)
        return held @ (self.reach - age_days[:, None]).clamp(0.0, 1.0).mT

    def _event(self, context: Context, age_ms: Tensor) -> Tensor:
        """Return what the event adds to the buckets: ``[B, 64]``."""
        into_day = age_ms - context.lag_ms
        own = ((into_day >= 0) & (into_day < DAY_MS)).float()
        return torch.cat((own, own * context.amount), dim=1)
