"""How much happened at a shared entity, or became known of it, in the last days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from engine.shared import SharedEntity
from models.features.base import Context, FeatureResult, Output
from models.features.entity import EntityFeature


class EntityWindows(EntityFeature):
    """``<entity>_<quantity>_Dd``: a quantity's sum over the closed buckets of the last D days.

    Args:
        entity, group: see :class:`EntityFeature`.
        quantities: the quantities' names.
        days: the windows, each a whole number of buckets.
    """

    inside: Tensor

    def __init__(
        self,
        entity: SharedEntity,
        quantities: Sequence[str],
        days: Sequence[float] = (1, 7, 30),
        group: str | None = None,
    ) -> None:
        super().__init__(entity, group)
        self.places = [self.place(each) for each in quantities]
        self.register_buffer("inside", self.within(days), persistent=False)
        names = [f"{entity.name}_{each}_{day:g}d" for each in quantities for day in days]
        self.outputs = tuple(Output(name, self.group) for name in names)

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        sums = (self.buckets(context, each) @ self.inside for each in self.places)
        return FeatureResult(tuple(each.clamp(min=0.0) for each in sums), {})
