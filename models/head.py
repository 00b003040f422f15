"""From the encoded features and the cell's output to a calibrated log-odds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """Two or more layers with SiLU, beside a linear path from the inputs.

    Args:
        inputs: the width of the encoded features and the cell's output together.
        hidden: the widths of the layers.
        dropout: the share of units left out in training.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = inputs
        for size in hidden:
            layers += [nn.Linear(width, size), nn.SiLU(), nn.Dropout(dropout)]
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))
        self.linear = nn.Linear(inputs, 1, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the log-odds before calibration: float32 ``[..., inputs]`` to ``[..., 1]``."""
        return self.layers(x) + self.linear(x)  # type: ignore[no-any-return]


class Calibration(nn.Module):
    """Platt scaling (Platt, 1999): the log-odds ``slope * x + offset``."""

    slope: Tensor
    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("slope", torch.ones(1))
        self.register_buffer("offset", torch.zeros(1))

    def forward(self, logit: Tensor) -> Tensor:
        """Return calibrated log-odds of the same shape."""
        return logit * self.slope + self.offset

    def set(self, slope: float, offset: float) -> None:
        """Take the two figures."""
        self.slope.fill_(slope)
        self.offset.fill_(offset)
