"""Unusual amounts by day, which reach further back than the ring."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from engine.layout import StateField
from models.features.base import DAY_MS, Context, Output, Pieces
from models.features.days import Days
from models.features.evidence import likely

_HOURS = 24.0


class UnusualDays(nn.Module):
    """What :class:`models.features.spread.Spread` keeps of earlier amounts in daily buckets.

    For each window of D days: ``high_Dd``, how many events had a ratio above ``high``;
    ``llr_Dd``, the sum of their positive llr; ``largest_ratio_Dd``. Ratio and llr are those at the
    time of the event. The day that a window's start cuts counts in proportion, and the largest
    ratio is of all days that the window touches: the error is at most what that one day adds.

    ``attack``: the log-odds that the account is under an attack which began on one of the days of
    the shortest window (at a rate of ``a_day``), and in which ``share`` of the amounts are too
    large: each event shifts it by ``log(1 - share + share exp(llr))``.

    Args:
        days: the windows.
        high: the ratio from which an event counts.
        share, a_day: see above.
    """

    begins: Tensor

    def __init__(
        self, days: Sequence[float], high: float, share: float = 1 / 3, a_day: float = 6e-4
    ) -> None:
        super().__init__()
        self.days = Days([each * _HOURS for each in days])
        self.high = high
        names = [f"{what}_{each:g}d" for what in ("high", "llr", "largest_ratio") for each in days]
        self.outputs = tuple(Output(name, "past_amounts") for name in names)
        self.outputs += (Output("attack", "past_amounts"),)
        self.state = StateField("day_unusual", "float32", (4, self.days.count))
        self.share, self.prior = share, math.log(a_day)
        begins = torch.arange(1, math.ceil(min(days)) + 1).float()[:, None]
        self.register_buffer("begins", begins, persistent=False)

    def forward(
        self, context: Context, held: Tensor, ratio: Tensor, llr: Tensor
    ) -> tuple[tuple[Tensor, ...], Pieces]:
        """Return the columns, and the buckets after the event.

        Args:
            context: see :class:`Context`.
            held: the buckets before, float32 ``[B, 4 * N]``.
            ratio, llr: of the event, ``[B, 1]``.
        """
        age_ms = self.days.ages(context)
        keep = self.days.held(context, age_ms).float()
        held = held.reshape(-1, 4, self.days.count) * keep[:, None]
        shares = self.days.shares(age_ms)
        sums = (held[:, :2] @ shares.mT).flatten(1)
        largest = torch.where(shares > 0.0, held[:, 2:3], 0.0).amax(2)
        attack = self._attack(age_ms, held[:, 3])
        own = self.days.own(context, age_ms).float()
        count, total, most, evidence = held.unbind(1)
        after = (
            count + own * (ratio > self.high).float(),
            total + own * llr.clamp(min=0.0),
            torch.maximum(most, own * ratio),
            evidence + own * torch.log(torch.exp(llr) * self.share + (1.0 - self.share)),
        )
        return (sums, largest, attack), after

    def _attack(self, age_ms: Tensor, evidence: Tensor) -> Tensor:
        """Return the log-odds ``[B, 1]`` from each day's evidence ``[B, N]``."""
        age_days = age_ms.float() * (1.0 / DAY_MS)
        since = (age_days[:, None] < self.begins).float() @ evidence[:, :, None]
        return torch.log(likely(since.squeeze(2), self.prior).sum(1, keepdim=True))
