"""From the encoded features and the cell's output to a calibrated log-odds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class MemberHead(nn.Module):
    """A network of one or more members, each of which learns with its own loss."""

    def members(self, x: Tensor) -> Tensor:
        """Map ``[..., inputs]`` to what each member gives, ``[..., members, ...]``, float32."""
        raise NotImplementedError


class Head(MemberHead):
    """Two or more layers with SiLU, beside a linear path from the inputs.

    With several members it is that many heads in one (TabM: Gorishniy et al., 2024,
    arXiv:2410.24210): they share the layers' weights, and each has multipliers, biases and an
    output of its own. Each learns with its own loss; what is served is the mean of their log-odds.

    Args:
        inputs: the width of the encoded features and the cell's output together.
        hidden: the widths of the layers.
        dropout: the share of units left out in training.
        members: how many heads; 1 or more.
    """

    def __init__(
        self, inputs: int, hidden: Sequence[int], dropout: float, members: int = 1
    ) -> None:
        super().__init__()
        self.count = members
        layers: list[nn.Module] = []
        width = inputs
        for size in hidden:
            layers += [_layer(width, size, members), nn.SiLU(), nn.Dropout(dropout)]
            width = size
        if members > 1:
            set_apart(layers)
        last = nn.Linear(width, 1) if members == 1 else MemberOutputs(width, members)
        self.layers = nn.Sequential(*layers, last)
        self.linear = nn.Linear(inputs, 1, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the log-odds before calibration: float32 ``[..., inputs]`` to ``[..., 1]``."""
        each = self.members(x)
        return each if self.count == 1 else each.mean(-1, keepdim=True)

    def members(self, x: Tensor) -> Tensor:
        """Return each member's log-odds: float32 ``[..., inputs]`` to ``[..., members]``."""
        if self.count == 1:
            return self.layers(x) + self.linear(x)  # type: ignore[no-any-return]
        return self.layers(x[..., None, :]) + self.linear(x)  # type: ignore[no-any-return]


class MemberLinear(nn.Module):
    """A linear layer that members share, each between multipliers of its own.

    (BatchEnsemble: Wen et al., 2020, arXiv:2002.06715.)

    Args:
        inputs, outputs: the widths.
        members: how many.
    """

    def __init__(self, inputs: int, outputs: int, members: int) -> None:
        super().__init__()
        # As it is multiplied: a transposed weight would lose its name in the exported graph.
        self.shared = nn.Parameter(torch.empty(inputs, outputs))
        self.scale_in = nn.Parameter(torch.ones(members, inputs))
        self.scale_out = nn.Parameter(torch.ones(members, outputs))
        self.bias = nn.Parameter(torch.empty(members, outputs))
        for each in (self.shared, self.bias):
            nn.init.uniform_(each, -(inputs**-0.5), inputs**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., members or 1, inputs]`` to ``[..., members, outputs]``, float32."""
        return (x * self.scale_in) @ self.shared * self.scale_out + self.bias


class MemberOutputs(nn.Module):
    """One output of each member, none of its weights shared.

    Args:
        inputs: the width.
        members: how many.
    """

    def __init__(self, inputs: int, members: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, inputs))
        self.bias = nn.Parameter(torch.zeros(members))
        nn.init.uniform_(self.weight, -(inputs**-0.5), inputs**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., members or 1, inputs]`` to ``[..., members]``, float32."""
        return (x * self.weight).sum(-1) + self.bias


def _layer(inputs: int, outputs: int, members: int) -> nn.Module:
    return nn.Linear(inputs, outputs) if members == 1 else MemberLinear(inputs, outputs, members)


def set_apart(layers: Sequence[nn.Module]) -> None:
    """Give the first layer's inputs random signs, so that the members begin unlike each other."""
    for layer in layers:
        if isinstance(layer, MemberLinear):
            with torch.no_grad():
                layer.scale_in.copy_(torch.randint(0, 2, layer.scale_in.shape) * 2.0 - 1.0)
            return


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
