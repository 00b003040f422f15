"""Daily buckets in an account's state, which reach further back than its ring.

A bucket is a UTC day modulo the number of buckets, one more than the days of the longest window,
so that the day that a window's start cuts is held too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.features.base import DAY_MS, Context

_MOST_DAYS = 31
_DAY_H = 24.0


class Days(nn.Module):
    """Which buckets are held, which are in each window, and which is the event's own.

    Args:
        hours: the windows, in hours; at most 31 days. Windows of less than a day have no buckets.

    Attributes:
        count: the number of buckets, ``N``.

    Raises:
        ValueError: a window is longer, or there is none.
    """

    starts: Tensor
    reach: Tensor
    within: Tensor

    def __init__(self, hours: Sequence[float]) -> None:
        super().__init__()
        if not hours or max(hours) > _MOST_DAYS * _DAY_H or min(hours) <= 0:
            raise ValueError(f"windows must be at most 31 days, however: {list(hours)} hours")
        reach = [each / _DAY_H + 1.0 if each >= _DAY_H else -1.0 for each in hours]
        within = [round(each * DAY_MS / _DAY_H) for each in hours]
        self.count = math.ceil(max(hours) / _DAY_H) + 1
        starts = torch.arange(self.count)[None] * DAY_MS
        self.register_buffer("starts", starts, persistent=False)
        self.register_buffer("reach", torch.tensor(reach)[:, None], persistent=False)
        self.register_buffer("within", torch.tensor(within)[:, None], persistent=False)

    def ages(self, context: Context) -> Tensor:
        """Return how long before now the day of each bucket began: int64 ``[B, N]``."""
        return torch.remainder(context.now_ms - self.starts, self.count * DAY_MS)

    def held(self, context: Context, age_ms: Tensor) -> Tensor:
        """Return which buckets are of a day that may still count: bool ``[B, N]``.

        One that began after the account's last event is of a day that has gone by.
        """
        return age_ms >= context.gap_ms

    def own(self, context: Context, age_ms: Tensor) -> Tensor:
        """Return which bucket the event's day is: bool ``[B, N]``; none if it is too old."""
        into_day = age_ms - context.lag_ms
        return (into_day >= 0) & (into_day < DAY_MS)

    def shares(self, age_ms: Tensor) -> Tensor:
        """Return how much of each bucket's day lies in each window: ``[B, windows, N]``."""
        age_days = age_ms.float() * (1.0 / DAY_MS)
        return (self.reach - age_days[:, None]).clamp(0.0, 1.0)

    def in_ring(self, context: Context) -> Tensor:
        """Return which events of the ring lie in each window: bool ``[B, windows, R]``."""
        return context.ring_age_ms[:, None] < self.within
