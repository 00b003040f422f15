"""How long ago a shared entity had a fraud, and a genuine event, that are known by now."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.shared import SharedEntity
from models.features.base import DAY_S, Context, FeatureResult, Output
from models.features.entity import EntityFeature


class EntityRecency(EntityFeature):
    """Days since the labels that became known last, and the present run of frauds.

    ``<entity>_days_since_<positives>``, ``..._since_genuine`` and ``..._since_known``: the age of
    the latest bucket with a positive, with a genuine and with any label. A bucket's age is the
    time from its middle to the end of the latest closed one, so it is off by up to half a
    bucket; where there is none it is the time that all buckets span. ``<entity>_run_days`` and
    ``<entity>_run``: the age of the first and the number of the positives since the last bucket
    with a genuine event; 0 where there is none. Positives in one bucket with a genuine event are
    not of the run.

    Args:
        entity, group: see :class:`EntityFeature`.
        positives, known: the names of the two quantities.
    """

    ages: Tensor

    def __init__(
        self, entity: SharedEntity, positives: str, known: str, group: str | None = None
    ) -> None:
        super().__init__(entity, group)
        self.positives, self.known = self.place(positives), self.place(known)
        bucket_days = entity.bucket_s / DAY_S
        self.never = entity.buckets * bucket_days
        ages = (torch.arange(entity.buckets).float() + 0.5) * bucket_days
        self.register_buffer("ages", ages[None], persistent=False)
        names = [f"days_since_{positives}", "days_since_genuine", "days_since_known"]
        names += ["run_days", "run"]
        self.outputs = tuple(Output(f"{entity.name}_{name}", self.group) for name in names)

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        positives = self.buckets(context, self.positives)
        genuine = self.buckets(context, self.known) - positives
        fraud = positives > 0.5
        since_fraud = self._since(fraud)
        since_genuine = self._since(genuine > 0.5)
        since_known = torch.minimum(since_fraud, since_genuine)
        in_run = fraud & (self.ages < since_genuine)
        length = torch.where(in_run, self.ages, 0.0).amax(1, keepdim=True)
        number = torch.where(in_run, positives, 0.0).sum(1, keepdim=True)
        return FeatureResult((since_fraud, since_genuine, since_known, length, number), {})

    def _since(self, found: Tensor) -> Tensor:
        """Return the age of the latest bucket that is marked: bool ``[B, N]`` to ``[B, 1]``."""
        return torch.where(found, self.ages, self.never).amin(1, keepdim=True)
