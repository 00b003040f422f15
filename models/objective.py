"""What a training makes small."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def weighted_loss(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor,
    smoothing: float = 0.0,
    focal: float = 0.0,
    total: Tensor | None = None,
) -> Tensor:
    """Return the mean cross-entropy of ``m`` events, weighted; of each member, then their mean.

    Args:
        logits: float ``[m, members]``.
        labels: 1 fraud, 0 genuine, float32 ``[m]``.
        weight: of each event, float32 ``[m]``, with a sum above 0 unless there is a ``total``.
        smoothing: how far labels are drawn towards 1/2 (Szegedy et al., 2016, arXiv:1512.00567).
        focal: the power of ``1 - p`` of the true label that an event also weighs (the focal loss:
            Lin et al., 2017, arXiv:1708.02002); 0 for the plain cross-entropy.
        total: what is divided by, where the events are a part of those that the mean is of: the
            weights of all of them, float32 ``[]``. The parts then add up to the mean.
    """
    logits = logits.float()
    truth = labels[:, None].expand_as(logits)
    target = truth * (1.0 - smoothing) + smoothing / 2
    each = binary_cross_entropy_with_logits(logits, target, reduction="none")
    if focal:
        chance = logits.sigmoid()
        each = each * (truth - chance).abs() ** focal
    return (each.mean(1) * weight).sum() / (weight.sum() if total is None else total)
