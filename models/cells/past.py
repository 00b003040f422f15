"""What each step of a batch of histories finds behind it, where some steps are no events.

``A`` accounts, ``T`` time steps, ``W`` the width of what an event leaves, ``N`` how many events
back are kept.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Past:
    """The places of the events before each step.

    Args:
        valid: which steps are events, bool ``[A, T]``.
    """

    def __init__(self, valid: Tensor) -> None:
        events = valid.long()
        self._order = torch.sort(events, dim=1, descending=True, stable=True).indices
        self._before = events.cumsum(dim=1) - events
        self._count = events.sum(dim=1, keepdim=True)

    def line_up(self, carried: Tensor, made: Tensor) -> Tensor:
        """Put the events of the chunk, without the steps between them, behind those carried.

        Args:
            carried: what the last events before the chunk left, the oldest first, ``[A, N, W]``.
            made: what each step would leave, ``[A, T, W]``.

        Returns:
            ``[A, N + T, W]``: the first ``N`` and as many more as there are events have a meaning.
        """
        return torch.cat((carried, _rows(made, self._order)), dim=1)

    def look_back(self, line: Tensor, ages: Tensor) -> Tensor:
        """Return what the events before each step left.

        Args:
            line: as :meth:`line_up` gives it, ``[A, N + T, W]``.
            ages: 1 for the event before, 2 for the one before that; int64 ``[K]``, at most ``N``.

        Returns:
            ``[A, T, K, W]``.
        """
        kept = line.shape[1] - self._before.shape[1]
        return _rows(line, kept + self._before[:, :, None] - ages)

    def last(self, line: Tensor) -> Tensor:
        """Return what the last ``N`` events left, the oldest first, ``[A, N, W]``."""
        kept = line.shape[1] - self._before.shape[1]
        return _rows(line, self._count + torch.arange(kept, device=line.device))


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """Return ``table [A, L, W]`` at ``index [A, ...]`` of its second axis, ``[A, ..., W]``."""
    accounts, length, width = table.shape
    first = torch.arange(accounts, device=index.device) * length
    flat = index + first.view(-1, *[1] * (index.dim() - 1))
    return table.reshape(-1, width).index_select(0, flat.flatten()).view(*index.shape, width)
