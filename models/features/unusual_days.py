"""Unusual amounts by day, which reach further back than the ring."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from engine.layout import StateField
from models.features.base import Context, Output, Pieces
from models.features.days import Days

_HOURS = 24.0


class UnusualDays(nn.Module):
    """What :class:`models.features.spread.Spread` keeps of earlier amounts in daily buckets.

    For each window of D days: ``high_Dd``, how many events had a ratio above ``high``;
    ``llr_Dd``, the sum of their positive llr; ``largest_ratio_Dd``. Ratio and llr are those at the
    time of the event. The day that a window's start cuts counts in proportion, and the largest
    ratio is of all days that the window touches: the error is at most what that one day adds.

    Args:
        days: the windows.
        high: the ratio from which an event counts.
    """

    def __init__(self, days: Sequence[float], high: float) -> None:
        super().__init__()
        self.days = Days([each * _HOURS for each in days])
        self.high = high
        names = [f"{what}_{each:g}d" for what in ("high", "llr", "largest_ratio") for each in days]
        self.outputs = tuple(Output(name, "past_amounts") for name in names)
        self.state = StateField("day_unusual", "float32", (3, self.days.count))

    def forward(
        self, context: Context, held: Tensor, ratio: Tensor, llr: Tensor
    ) -> tuple[tuple[Tensor, ...], Pieces]:
        """Return the columns, and the buckets after the event.

        Args:
            context: see :class:`Context`.
            held: the buckets before, float32 ``[B, 3 * days]``.
            ratio, llr: of the event, ``[B, 1]``; llr is 0 or more.
        """
        age_ms = self.days.ages(context)
        keep = self.days.held(context, age_ms)[:, None]
        held = torch.where(keep, held.reshape(-1, 3, self.days.count), 0.0)
        shares = self.days.shares(age_ms)
        sums = (held[:, :2] @ shares.mT).flatten(1)
        largest = torch.where(shares > 0.0, held[:, 2:], 0.0).amax(2)
        own = self.days.own(context, age_ms).float()
        count, total, most = held.unbind(1)
        after = (
            count + own * (ratio > self.high).float(),
            total + own * llr,
            torch.maximum(most, own * ratio),
        )
        return (sums, largest), after
