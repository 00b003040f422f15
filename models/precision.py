"""In what a network computes while it learns. Weights and loss are always float32."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch

from models.config import AUTO

_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Precision:
    """What a setting comes to on a device.

    Args:
        setting: ``float32``, ``bfloat16``, ``float16``, or ``auto``: on a GPU the half precision
            that it computes fast in, on a CPU float32.
        device: where the network is.

    Attributes:
        name: ``float32``, ``bfloat16`` or ``float16``.
        scaler: keeps float16's small gradients from vanishing (Micikevicius et al., 2018,
            arXiv:1710.03740); does nothing for the others.
    """

    def __init__(self, setting: str, device: torch.device) -> None:
        self.name = _fast(device) if setting == AUTO else setting
        self._kind = device.type
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.name == "float16")

    def autocast(self) -> AbstractContextManager[Any]:
        """Return a block in which the network computes in this precision."""
        kind = _TYPES.get(self.name)
        return torch.autocast(self._kind, kind or torch.bfloat16, enabled=kind is not None)


def _fast(device: torch.device) -> str:
    if device.type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
