"""Which share of a shared entity's events turned out to be fraud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from engine.shared import SharedEntity
from models.features.base import Context, FeatureResult, Output
from models.features.entity import EntityFeature


class EntityRates(EntityFeature):
    """``<entity>_<positives>_rate_Dd``: positives per known label over the last D days, smoothed.

    The rate is ``(p + weight prior) / (k + weight)`` for ``p`` positives among ``k`` labels that
    became known in the window's closed buckets: ``prior`` where nothing is known.

    Args:
        entity, group: see :class:`EntityFeature`.
        positives, known: the names of the two quantities.
        days: the windows, each a whole number of buckets.
        prior: the rate of an entity of which nothing is known.
        weight: how many labels the prior counts as.
    """

    inside: Tensor

    def __init__(
        self,
        entity: SharedEntity,
        positives: str,
        known: str,
        days: Sequence[float] = (1, 7, 30),
        prior: float = 0.01,
        weight: float = 1.0,
        group: str | None = None,
    ) -> None:
        super().__init__(entity, group)
        if not weight > 0 or not 0 <= prior <= 1:
            raise ValueError(
                f"weight must be above 0 and prior from 0 to 1: weight={weight}, prior={prior}"
            )
        self.positives, self.known = self.place(positives), self.place(known)
        self.prior, self.weight = prior, weight
        self.register_buffer("inside", self.within(days), persistent=False)
        names = [f"{entity.name}_{positives}_rate_{day:g}d" for day in days]
        self.outputs = tuple(Output(name, self.group) for name in names)

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        positives = (self.buckets(context, self.positives) @ self.inside).clamp(min=0.0)
        known = (self.buckets(context, self.known) @ self.inside).clamp(min=0.0)
        rate = (positives + self.prior * self.weight) / (known + self.weight)
        return FeatureResult((rate,), {})
