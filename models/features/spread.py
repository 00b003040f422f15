"""How unusual an amount is for its account, and how unusual its last amounts were.

The account's own level and spread are held robustly: shrunk towards a prior, and updated only by
amounts that are not themselves outliers, so that an attack does not move what it is measured by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from engine.layout import StateField
from models.features.base import (
    DAY_MS,
    DAY_S,
    Context,
    Feature,
    FeatureResult,
    Output,
    Pieces,
)
from models.features.unusual_days import UnusualDays

#: What ``days_since_high`` says when the ring holds no high amount.
_NEVER_DAYS = 60.0
_LLR_MIN, _LLR_MAX = -6.0, 12.0


class Spread(Feature):
    """The amount against a robust mean ``rm`` and spread ``rs``; the same for the ring.

    With ``n`` accepted amounts (those up to ``accept * rm``), their mean ``m`` and mean square
    deviation ``d``: ``rm = (n m + 2 prior) / (n + 2)``, and
    ``rs^2 = (n d + 2 (relative rm)^2) / (n + 2)``.

    Columns: ``usual_amount`` (rm); ``ratio`` (amount / rm); ``z`` ((amount - rm) / rs); ``llr``,
    the log-likelihood ratio of an amount ``factor`` times too large against an ordinary one, under
    normal laws (rm, rs) and (factor rm, factor rs), clipped to -6..12; ``high_R_Dd``, how many of
    the ring's events in the last D days have a ratio above R; ``largest_ratio`` and ``llr_sum``
    (of positive llr) over the ring's events of the last ``window_days``; ``days_since_high``, the
    age of the ring's last event above the first R (60 if none); ``llr_decayed_Dd``, the sum of
    all earlier events' positive llr, each decayed with a time constant of D days.

    Ratios of the ring's events are taken against the present rm and rs.

    Args:
        prior: the amount that an unknown account is taken to spend; weighs as two events.
        relative: the prior spread, as a part of rm.
        accept: amounts up to this many times rm update rm and rs.
        factor: how many times too large a suspicious amount is.
        high: pairs of a ratio and a number of days.
        window_days: how far back the ring is read for ``largest_ratio`` and ``llr_sum``.
        decay_days: the time constants; may be empty.
        days: windows over daily buckets, which reach further back than the ring: see
            :class:`models.features.unusual_days.UnusualDays`. None by default.
        horizon: after this many amounts old ones are forgotten exponentially.
    """

    high_ratio: Tensor
    high_age_ms: Tensor
    decay: Tensor

    def __init__(
        self,
        prior: float = 40.0,
        relative: float = 0.6,
        accept: float = 3.0,
        factor: float = 5.0,
        high: Sequence[Sequence[float]] = ((2.5, 3), (2.5, 14), (3.5, 14)),
        window_days: float = 14.0,
        decay_days: Sequence[float] = (5.0, 14.0),
        horizon: int = 256,
        days: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.prior, self.relative, self.accept = prior, relative, accept
        self.factor, self.horizon = factor, float(horizon)
        self.window_ms = round(window_days * DAY_MS)
        self.first_high = float(high[0][0])
        ratios = torch.tensor([[[float(ratio)] for ratio, _ in high]])
        ages = torch.tensor([[[round(days * DAY_MS)] for _, days in high]])
        rates = torch.tensor([[-1.0 / (days * DAY_S) for days in decay_days]])
        self.register_buffer("high_ratio", ratios, persistent=False)
        self.register_buffer("high_age_ms", ages, persistent=False)
        self.register_buffer("decay", rates, persistent=False)
        past = ["usual_amount", *(f"high_{ratio:g}_{days:g}d" for ratio, days in high)]
        past += ["largest_ratio", "llr_sum", "days_since_high"]
        past += [f"llr_decayed_{days:g}d" for days in decay_days]
        self.outputs = tuple(Output(name, "amount") for name in ("ratio", "z", "llr"))
        self.outputs += tuple(Output(name, "past_amounts") for name in past)
        self.state = (
            StateField("usual_count", "float32"),
            StateField("usual_mean", "float32"),
            StateField("usual_square", "float32"),
        )
        if decay_days:
            self.state += (StateField("pressure", "float32", (len(decay_days),)),)
        self.by_day = UnusualDays(days, self.first_high) if days else None
        if self.by_day is not None:
            self.outputs += self.by_day.outputs
            self.state += (self.by_day.state,)

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        rm, rs = self._usual(state)
        amounts = torch.cat((context.amount, context.ring_amount), dim=1)
        parts = [1, context.ring_amount.shape[1]]
        z = (amounts - rm) / rs
        ratio, past_ratio = torch.split(amounts / rm, parts, dim=1)
        llr, past_llr = torch.split(self._llr(z, rm / rs), parts, dim=1)
        past = self._past(context, past_ratio, past_llr.clamp(min=0.0))
        new: dict[str, Pieces] = {**self._updated(context.amount, rm, state)}
        columns = (ratio, z[:, :1], llr, rm, *past)
        if self.decay.shape[1]:
            held = state["pressure"] * torch.exp(context.gap_s * self.decay)
            columns += (held,)
            new["pressure"] = held + llr.clamp(min=0.0)
        if self.by_day is not None:
            name = self.by_day.state.name
            more, new[name] = self.by_day(context, state[name], ratio, llr)
            columns += more
        return FeatureResult(columns, new)

    def _usual(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the robust mean and spread, each ``[B, 1]``."""
        count = state["usual_count"]
        weight = 1.0 / (count + 2.0)
        rm = (count * state["usual_mean"] + 2.0 * self.prior) * weight
        prior_square = (rm * rm) * (2.0 * self.relative**2)
        return rm, torch.sqrt((count * state["usual_square"] + prior_square) * weight)

    def _llr(self, z: Tensor, level: Tensor) -> Tensor:
        """Return the log-likelihood ratio of ``z [B, n]``, where ``level [B, 1]`` is rm / rs."""
        other = (z - level * (self.factor - 1.0)) * (1.0 / self.factor)
        llr = (z * z - other * other) * 0.5 - math.log(self.factor)
        return llr.clamp(_LLR_MIN, _LLR_MAX)

    def _past(self, context: Context, ratio: Tensor, llr: Tensor) -> tuple[Tensor, ...]:
        """Return the columns made of the ring's ratios and positive llr, ``[B, R]`` each."""
        age_ms = context.ring_age_ms
        young = age_ms[:, None] < self.high_age_ms
        high = ((ratio[:, None] > self.high_ratio) & young).float().sum(2)
        recent = (age_ms < self.window_ms).float()
        largest = (ratio * recent).amax(1, keepdim=True)
        total = (llr * recent).sum(1, keepdim=True)
        age_days = age_ms.float() * (1.0 / DAY_MS)
        since = torch.where(ratio > self.first_high, age_days, _NEVER_DAYS)
        return high, largest, total, since.amin(1, keepdim=True).clamp(max=_NEVER_DAYS)

    def _updated(
        self, amount: Tensor, rm: Tensor, state: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return what the mean and the spread are made of after the event."""
        mean, square = state["usual_mean"], state["usual_square"]
        ordinary = (amount <= rm * self.accept).float()
        count = (state["usual_count"] + ordinary).clamp(max=self.horizon)
        step = ordinary / count.clamp(min=1.0)
        away = amount - rm
        return {
            "usual_count": count,
            "usual_mean": mean + (amount - mean) * step,
            "usual_square": square + (away * away - square) * step,
        }
