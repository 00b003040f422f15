"""Whether an account has been at this counterparty before."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from models.features.base import Context, Feature, FeatureResult, Output


class Novelty(Feature):
    """``counterparty_new`` and ``counterparty_share``, over the events that the ring holds.

    New (1) if none of them is at the event's counterparty, as it is for a first event; the share
    of them that is, 0 for a first event.
    """

    def __init__(self) -> None:
        super().__init__()
        names = ("counterparty_new", "counterparty_share")
        self.outputs = tuple(Output(name, "counterparty") for name in names)

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        same = (context.ring_counterparty == context.counterparty) & context.ring_held
        seen = same.float().sum(1, keepdim=True)
        held = context.earlier.clamp(1.0, float(context.ring_amount.shape[1]))
        return FeatureResult(((seen < 0.5).float(), seen / held), {})
