"""How long an account has been silent, and how well it is known."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from models.features.base import Context, Feature, FeatureResult, Output


class Recency(Feature):
    """``gap_s`` since the last event; ``first``; ``earlier``, the number of earlier events.

    The gap is 0 for a first event and for one that is older than the account's last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outputs = tuple(Output(name, "recency") for name in ("gap_s", "first", "earlier"))

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        return FeatureResult((context.gap_s, context.first.float(), context.earlier), {})
