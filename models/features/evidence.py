"""From shifts of a log-likelihood to what they make of a prior."""

from __future__ import annotations

import torch
from torch import Tensor

#: A shift beyond it, either way, is no more certain; so the exponential stays finite.
_MOST = 40.0


def likely(shift: Tensor, log_prior: float) -> Tensor:
    """Return ``exp(log_prior + shift)``, the shift held to 40 either way; any shape, float32."""
    return torch.exp(shift.clamp(-_MOST, _MOST) + log_prior)
