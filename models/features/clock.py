"""When in the day and in the week an event happened."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from models.features.base import DAY_MS, Context, Feature, FeatureResult, Output

_HOUR_MS = DAY_MS // 24
#: 1970-01-01 was a Thursday: three days after the Monday at which a week begins here.
_MONDAY_MS = 3 * DAY_MS


class Clock(Feature):
    """Time of day and of week as points on circles, and two flags.

    ``day_sin day_cos`` and ``week_sin week_cos`` (a week begins on Monday), ``night`` (before
    ``night_until``) and ``weekend`` (Saturday, Sunday). Times are UTC plus ``offset_h``.

    Args:
        night_until: the hour at which the night, which begins at midnight, ends.
        offset_h: hours to add to UTC to get the local time.
    """

    shift: Tensor
    period: Tensor
    angle: Tensor
    sign: Tensor
    below: Tensor

    def __init__(self, night_until: float = 7.0, offset_h: float = 0.0) -> None:
        super().__init__()
        local = round(offset_h * _HOUR_MS)
        night = round(night_until * _HOUR_MS)
        constants = {
            "shift": [local, local + _MONDAY_MS],
            "period": [DAY_MS, 7 * DAY_MS],
            # of x * sign < below: x < night, and -x < 1 - 5 days, which is x >= 5 days
            "sign": [1, -1],
            "below": [night, 1 - 5 * DAY_MS],
        }
        for name, values in constants.items():
            self.register_buffer(name, torch.tensor([values]), persistent=False)
        turn = torch.tensor([[2 * math.pi / DAY_MS, 2 * math.pi / (7 * DAY_MS)]])
        self.register_buffer("angle", turn, persistent=False)
        names = ("day_sin", "week_sin", "day_cos", "week_cos", "night", "weekend")
        self.outputs = tuple(Output(name, "clock") for name in names)

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        place_ms = torch.remainder(context.time_ms + self.shift, self.period)
        angle = place_ms.float() * self.angle
        flags = (place_ms * self.sign < self.below).float()
        return FeatureResult((torch.sin(angle), torch.cos(angle), flags), {})
