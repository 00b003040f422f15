"""What the features of a shared entity (a terminal, a device, the account's labels) have in common.

``N`` is the number of buckets the graph is given of an entity, ``Q`` that of its quantities.
Bucket 0 is the latest closed one. A quantity of one bucket may be negative, where a label was
corrected after it had been counted; a sum over a window is held at 0 or more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.shared import SharedEntity
from models.features.base import DAY_S, Context, Feature


class EntityFeature(Feature):
    """A feature made of the buckets of one entity.

    Args:
        entity: whose buckets; a declaration gives its name.
        group: the group of reasons of the columns; the entity's name by default.
    """

    def __init__(self, entity: SharedEntity, group: str | None = None) -> None:
        super().__init__()
        self.entity = entity
        self.group = group or entity.name

    def buckets(self, context: Context, quantity: int) -> Tensor:
        """Return one quantity of every bucket: float32 ``[B, N]``."""
        return context.shared[self.entity.input][:, :, quantity]

    def place(self, quantity: str) -> int:
        """Return which of the entity's quantities has this name. Raises ValueError."""
        names = [each.name for each in self.entity.quantities]
        if quantity not in names:
            raise ValueError(
                f"a quantity of {self.entity.name} must be one of {', '.join(names)}: {quantity!r}"
            )
        return names.index(quantity)

    def within(self, days: Sequence[float]) -> Tensor:
        """Return which buckets each window of so many days is the sum of: float32 ``[N, windows]``.

        Raises:
            ValueError: a window is not a whole number of buckets, or longer than all of them.
        """
        wanted = torch.tensor([float(each) for each in days]) * (DAY_S / self.entity.bucket_s)
        counts = wanted.round()
        if (
            not len(days)
            or (counts != wanted).any()
            or counts.min() < 1
            or counts.max() > self.entity.buckets
        ):
            raise ValueError(
                f"a window must be a whole number of the {self.entity.buckets} buckets of "
                f"{self.entity.bucket_s} s that {self.entity.name} has: {list(days)} days"
            )
        return (torch.arange(self.entity.buckets)[:, None] < counts).float()
