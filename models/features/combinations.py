"""Whether an account has been at this counterparty at such an hour, or with such an amount."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from models.features.base import DAY_MS, Context, Feature, FeatureResult, Output


class Combinations(Feature):
    """How new the event's bands, and their combinations, are among the events of the ring.

    ``hours_share`` and ``amounts_share``: the share of the ring's events in the event's band of
    hours, and of amounts; 0 for a first event. ``counterparty_hours_new``,
    ``counterparty_amounts_new`` and ``hours_amounts_new``: 1 if none of them is in both.

    Args:
        band_h: the length of a band of hours; a day is cut from midnight UTC.
        amounts: where the bands of amounts are cut, ascending; an amount on a cut is above it.
    """

    cuts: Tensor

    def __init__(
        self, band_h: float = 6.0, amounts: Sequence[float] = (10.0, 50.0, 100.0, 220.0)
    ) -> None:
        super().__init__()
        if not 0 < band_h <= 24 or not amounts:
            raise ValueError(f"bands must be up to a day, and of some amounts: {band_h} hours")
        self.band_ms = round(band_h * DAY_MS / 24)
        self.register_buffer("cuts", torch.tensor([[list(amounts)]]).mT, persistent=False)
        names = ["hours_share", "amounts_share"]
        names += ["counterparty_hours_new", "counterparty_amounts_new", "hours_amounts_new"]
        groups = ["clock", "amount", "counterparty", "counterparty", "clock"]
        self.outputs = tuple(map(Output, names, groups))

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        ring_ms = context.now_ms - context.ring_age_ms
        held = context.ring_held
        hours = (self._hours(ring_ms) == self._hours(context.time_ms)) & held
        amounts = (self._amounts(context.ring_amount) == self._amounts(context.amount)) & held
        here = context.ring_counterparty == context.counterparty
        alike = (hours, amounts, here & hours, here & amounts, hours & amounts)
        counts = torch.stack(alike, dim=1).float().sum(2)
        number = context.earlier.clamp(1.0, float(held.shape[1]))
        return FeatureResult((counts[:, :2] / number, (counts[:, 2:] < 0.5).float()), {})

    def _hours(self, time_ms: Tensor) -> Tensor:
        """Return when in its day the band of each time began: int64 ms, of the same shape."""
        in_day = torch.remainder(time_ms, DAY_MS)
        return in_day - torch.remainder(in_day, self.band_ms)

    def _amounts(self, amount: Tensor) -> Tensor:
        """Return how many cuts each amount has reached: ``[B, n]`` to float32 ``[B, n]``."""
        return (amount[:, None] >= self.cuts).float().sum(1)
