"""What a cell is. ``B`` is the batch, ``A`` accounts, ``T`` time steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Cell(nn.Module):
    """A sequence model that carries its state from event to event.

    :meth:`step` (serving) and :meth:`sequence` (training) are the same function. The state of a
    new account is all zeros.

    Attributes:
        state_size: the number of float32 items it carries; 0 for none.
        output_size: the width of what it gives the head.
    """

    state_size: int
    output_size: int

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Take one event of each account.

        Args:
            x: encoded features, float32 ``[B, inputs]``.
            h: the state before, float32 ``[B, state_size]``.

        Returns:
            ``z`` float32 ``[B, output_size]``, and the state after, ``[B, state_size]``.
        """
        raise NotImplementedError

    def sequence(self, x: Tensor, h: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Take many events of each account.

        Args:
            x: encoded features, float32 ``[A, T, inputs]``.
            h: the state before the first, float32 ``[A, state_size]``.
            valid: which steps are events, bool ``[A, T]``; the others leave the state as it is.

        Returns:
            ``z`` float32 ``[A, T, output_size]``, and the state after the last.
        """
        outputs = []
        for at in range(x.shape[1]):
            z, after = self.step(x[:, at], h)
            h = torch.where(valid[:, at, None], after, h)
            outputs.append(z)
        return torch.stack(outputs, dim=1), h
