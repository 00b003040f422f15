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

    days: Tensor
    reach: Tensor
    within: Tensor

    def __init__(self, hours: Sequence[float] = (1, 24, 168, 720)) -> None:
        super().__init__()
        reach = [each / _DAY_H + 1.0 if each >= _DAY_H else -1.0 for each in hours]
        within = [round(each * DAY_MS / _DAY_H) for each in hours]
        self.register_buffer("days", torch.arange(_BUCKETS)[None], persistent=False)
        self.register_buffer("reach", torch.tensor(reach)[None, :, None], persistent=False)
        self.register_buffer("within", torch.tensor(within)[None, :, None], persistent=False)
        names = [f"{what}_{each:g}h" for each in hours for what in ("count", "sum")]
        names += [f"mean_{each:g}h" for each in hours]
        self.outputs = tuple(Output(name, "frequency") for name in names)
        self.state = (StateField("day_buckets", "float32", (_BUCKETS, 2)),)

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        day_now = torch.div(context.now_ms, DAY_MS, rounding_mode="trunc")
        age_days = torch.remainder(day_now - self.days, _BUCKETS)
        held = self._held(context, state["day_buckets"], day_now, age_days)
        exact = self._from_ring(context)
        coarse = self._from_buckets(context, held, day_now, age_days)
        full = exact[:, :, :1] > context.ring_amount.shape[1] - 0.5
        figures = torch.where(full, torch.maximum(exact, coarse), exact)
        count, total = figures.unbind(2)
        mean = total / count.clamp(min=1.0)
        columns = torch.cat((figures.flatten(1), mean), dim=1)
        return FeatureResult(columns, {"day_buckets": self._added(context, held, day_now, age_days)})

    def _held(
        self, context: Context, buckets: Tensor, day_now: Tensor, age_days: Tensor
    ) -> Tensor:
        """Return the buckets ``[B, 32, 2]`` without those whose day has gone by since."""
        passed = day_now - torch.div(context.last_ms, DAY_MS, rounding_mode="trunc")
        keep = (age_days >= passed)[:, :, None]
        return torch.where(keep, buckets.reshape(-1, _BUCKETS, 2), 0.0)

    def _from_ring(self, context: Context) -> Tensor:
        """Return count and sum of the ring's events in each window: ``[B, windows, 2]``."""
        age_ms, held = context.ring_age_ms[:, None], context.ring_held[:, None]
        inside = ((age_ms < self.within) & held).float()
        total = inside * context.ring_amount[:, None]
        return torch.stack((inside.sum(2), total.sum(2)), dim=2)

    def _from_buckets(
        self, context: Context, held: Tensor, day_now: Tensor, age_days: Tensor
    ) -> Tensor:
        """Return count and sum of the buckets in each window: ``[B, windows, 2]``."""
        into_day = (context.now_ms - day_now * DAY_MS).float() * (1.0 / DAY_MS)
        share = self.reach - (age_days + into_day)[:, None]
        return share.clamp(0.0, 1.0) @ held

    def _added(
        self, context: Context, held: Tensor, day_now: Tensor, age_days: Tensor
    ) -> Tensor:
        """Return the buckets ``[B, 64]`` with the event added to its own day."""
        own_age = day_now - torch.div(context.time_ms, DAY_MS, rounding_mode="trunc")
        hit = (age_days == own_age).float()
        added = torch.stack((hit, hit * context.amount), dim=2)
        return (held + added).flatten(1)
