"""No memory: the head sees the event's features alone."""

from __future__ import annotations

from torch import Tensor, nn

from models.cells.base import Cell


class MlpCell(Cell):
    """One layer over the present event; carries nothing.

    Args:
        inputs: the width of the encoded features.
        size: the width of the layer.
    """

    def __init__(self, inputs: int, size: int = 32) -> None:
        super().__init__()
        self.state_size = 0
        self.output_size = size
        self.layer = nn.Sequential(nn.Linear(inputs, size), nn.SiLU())

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`models.cells.base.Cell.step`."""
        return self.layer(x), h

    def sequence(self, x: Tensor, h: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`models.cells.base.Cell.sequence`."""
        return self.layer(x), h
