"""The amount itself, and how it compares with the account's running mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from engine.layout import StateField
from models.features.base import Context, Feature, FeatureResult, Output


class Amount(Feature):
    """``amount``; ``amount_to_mean``; ``amount_above_L`` for each limit ``L``.

    The mean is over all earlier events; beyond ``horizon`` events it forgets old ones
    exponentially. A first event is compared with itself (1). The logarithm of each column is
    taken by the encoding (:mod:`models.encoding`), for every feature alike.

    Args:
        limits: amounts in the account's currency; one flag column each.
        horizon: how many events the mean is over, at most.
    """

    bounds: Tensor

    def __init__(self, limits: Sequence[float] = (), horizon: int = 512) -> None:
        super().__init__()
        self.horizon = float(horizon)
        self.register_buffer("bounds", torch.tensor([list(limits)]), persistent=False)
        flags = [f"amount_above_{limit:g}" for limit in limits]
        names = ["amount", "amount_to_mean", *flags]
        self.outputs = tuple(Output(name, "amount") for name in names)
        self.state = (StateField("amount_mean", "float32"),)

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        amount, mean = context.amount, state["amount_mean"]
        usual = torch.where(context.first, amount, mean)
        columns: tuple[Tensor, ...] = (amount, amount / usual.clamp(min=0.01))
        if self.bounds.shape[1]:
            columns += ((amount > self.bounds).float(),)
        count = (context.earlier + 1.0).clamp(max=self.horizon)
        updated = mean + (amount - mean) / count
        return FeatureResult(columns, {"amount_mean": updated})
