"""Numbers of the event itself, as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from models.features.base import Context, Feature, FeatureResult, Output


class Numbers(Feature):
    """``event_<field>`` for each field: what the event says, such as a fee, an age or a distance.

    The schema says what stands for a number that an event lacks: the field's default.

    Args:
        fields: the names of numbers of the schema.
        group: the group of reasons of the columns.
    """

    def __init__(self, fields: Sequence[str], group: str = "event") -> None:
        super().__init__()
        if isinstance(fields, str) or not fields:
            raise ValueError(f"fields must be a list of names: {fields!r}")
        self.reads = tuple(fields)
        self.outputs = tuple(Output(f"event_{name}", group) for name in fields)

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        return FeatureResult(tuple(context.events[name][:, None] for name in self.reads), {})
