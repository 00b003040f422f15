"""A gated recurrent unit (Cho et al., 2014, arXiv:1406.1078; the reset gate after the product)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.cells.base import Cell


class GruCell(Cell):
    """Carries a hidden vector; what it gives the head is that vector after the event.

    Args:
        inputs: the width of the encoded features.
        size: the width of the hidden vector.
    """

    def __init__(self, inputs: int, size: int = 32) -> None:
        super().__init__()
        self.state_size = size
        self.output_size = size
        self.from_input = nn.Linear(inputs, 3 * size)
        self.from_state = nn.Linear(size, 3 * size)
        nn.init.orthogonal_(self.from_state.weight)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`models.cells.base.Cell.step`."""
        after = self._advance(self.from_input(x), h)
        return after, after

    def sequence(self, x: Tensor, h: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`models.cells.base.Cell.sequence`."""
        outputs = []
        projected = self.from_input(x)
        for gates, is_event in zip(projected.unbind(1), valid.unbind(1), strict=True):
            after = self._advance(gates, h)
            outputs.append(after)
            h = torch.where(is_event[:, None], after, h)
        return torch.stack(outputs, dim=1), h

    def _advance(self, gates: Tensor, h: Tensor) -> Tensor:
        """Return the state after an event whose input part is ``gates [B, 3 size]``."""
        pair = [2 * self.state_size, self.state_size]
        input_pair, input_new = torch.split(gates, pair, dim=1)
        state_pair, state_new = torch.split(self.from_state(h), pair, dim=1)
        reset, update = torch.sigmoid(input_pair + state_pair).chunk(2, dim=1)
        new = torch.tanh(input_new + reset * state_new)
        return new + update * (h - new)
