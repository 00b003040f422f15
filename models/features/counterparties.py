"""How many different counterparties an account has been at, and how long ago at this one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from engine.layout import StateField
from models.features.base import DAY_MS, Context, Feature, FeatureResult, Output
from models.features.days import Days

#: What ``counterparty_days`` says when the account has not been there, and at most.
_NEVER_DAYS = 60.0


class Counterparties(Feature):
    """``distinct_Wh`` for each window, and ``counterparty_days`` since the account was here.

    Each counterparty falls into one of ``slots`` by its hash; a slot remembers when it was last
    used, by the account's latest time then. While fewer events of the ring are in a window than
    the ring holds, the ring gives the exact number of counterparties. Beyond that
    it is estimated by linear counting (Whang et al., 1990, A Linear-Time Probabilistic Counting
    Algorithm): ``-s ln(e / s)`` for ``e`` of ``s`` slots without use in the window, never less
    than what the ring shows. With ``n`` different
    counterparties and ``t = n / s`` its standard error is ``sqrt(s (exp(t) - t - 1))``; it ends
    at ``s ln(2 s)``.

    ``counterparty_days`` is the age of the last use of the event's slot, 60 if it has none: it is
    exact, or too small where another counterparty fell into the slot later. Times of slots are
    off by up to three minutes.

    Args:
        hours: the windows, in hours.
        slots: how many slots.
    """

    numbers: Tensor
    reach_days: Tensor

    def __init__(self, hours: Sequence[float] = (24, 168, 720), slots: int = 32) -> None:
        super().__init__()
        if slots < 2:
            raise ValueError(f"slots must be at least 2, however: {slots}")
        self.slots = slots
        self.days = Days(hours)
        reach = torch.tensor([[[each / 24.0] for each in hours]])
        self.register_buffer("numbers", torch.arange(slots)[None], persistent=False)
        self.register_buffer("reach_days", reach, persistent=False)
        names = [*(f"distinct_{each:g}h" for each in hours), "counterparty_days"]
        self.outputs = tuple(Output(name, "counterparty") for name in names)
        self.state = (StateField("slot_days", "float32", (slots,)),)

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        used = state["slot_days"]
        now_days = context.now_ms.float() * (1.0 / DAY_MS)
        age_days = now_days - used
        own = torch.remainder(context.counterparty_hash, self.slots) == self.numbers
        inside = self.days.in_ring(context).float()
        exact = self._in_ring(context, inside)
        full = inside.sum(2) > context.ring_amount.shape[1] - 0.5
        estimate = self._estimate((age_days[:, None] < self.reach_days).float().sum(2))
        distinct = torch.where(full, torch.maximum(exact, estimate), exact)
        since = torch.where(own, age_days, _NEVER_DAYS).amin(1, keepdim=True)
        columns = (distinct, since.clamp(0.0, _NEVER_DAYS))
        return FeatureResult(columns, {"slot_days": torch.where(own, now_days, used)})

    def _in_ring(self, context: Context, inside: Tensor) -> Tensor:
        """Return how many counterparties the ring's events of each window have: ``[B, windows]``.

        Each event counts as one part of as many as are at its counterparty.
        """
        code = context.ring_counterparty
        same = (code[:, :, None] == code[:, None]).float()
        together = (inside @ same).clamp(min=1.0)
        return (inside / together).sum(2)

    def _estimate(self, used: Tensor) -> Tensor:
        """Return the estimate for ``used [B, windows]`` slots."""
        empty = (self.slots - used).clamp(min=0.5)
        return (math.log(self.slots) - torch.log(empty)) * self.slots
