"""Transformer blocks over an account's last events, which fade as the events after them say.

Pre-norm blocks (Xiong et al., 2020, arXiv:2002.04745). Of an event each block keeps one vector,
which is key and value of all its heads, as in multi-query attention (Shazeer, 2019,
arXiv:1911.02150) over a compressed latent (DeepSeek-AI, 2024, arXiv:2405.04434). Position is a
learnt bias by age in events (Shaw et al., 2018, arXiv:1803.02155), and a forget gate on the
attention weights (Lin et al., 2025, arXiv:2503.02130): the gate reads the encoded features, the
time since the last event among them, and so fades by time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models.cells.base import Cell
from models.cells.past import Past


class AttentionCell(Cell):
    """Carries the kept vectors of the last events, and how far each has faded: 0 if it is none.

    The present event is always seen, with weight 1, so that a new account sees that alone. The
    state takes ``4 * blocks * events * (kept + 1)`` bytes: 256, if nothing else is said.

    Args:
        inputs: the width of the encoded features.
        size: the width of the blocks, and of what the head gets.
        kept: the width of what each block keeps of an event, which has one number more.
        events: how many earlier events are seen.
        heads: the number of queries.
        blocks: the number of blocks.
    """

    def __init__(
        self,
        inputs: int,
        size: int = 32,
        kept: int = 7,
        events: int = 8,
        heads: int = 2,
        blocks: int = 1,
    ) -> None:
        super().__init__()
        self.output_size = size
        self.embed = nn.Linear(inputs, size)
        self._blocks = [_Block(size, kept, events, heads) for _ in range(blocks)]
        self.blocks = nn.ModuleList(self._blocks)
        self.norm = nn.LayerNorm(size, elementwise_affine=False)
        self._part = events * (kept + 1)
        self.state_size = blocks * self._part

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`models.cells.base.Cell.step`."""
        z, after = self.embed(x), []
        for block, held in zip(self._blocks, torch.split(h, self._part, dim=1), strict=True):
            z, new = block.step(z, held)
            after.append(new)
        return self.norm(z), torch.cat(after, dim=1)

    def sequence(self, x: Tensor, h: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`models.cells.base.Cell.sequence`."""
        z, after, past = self.embed(x), [], Past(valid)
        for block, held in zip(self._blocks, torch.split(h, self._part, dim=1), strict=True):
            z, new = block.sequence(z, held, past)
            after.append(new)
        return self.norm(z), torch.cat(after, dim=1)


class _Block(nn.Module):
    """Attention over the last events and the present one, then a layer of its own.

    A block's state is the vectors ``[events, kept]``, the oldest first, then their weights
    ``[events]``.
    """

    def __init__(self, size: int, kept: int, events: int, heads: int) -> None:
        super().__init__()
        self.kept, self.events, self.heads = kept, events, heads
        self.norm = nn.LayerNorm(size, elementwise_affine=False)
        self.read = nn.Linear(size, heads * kept + kept + 1)
        self.by_age = nn.Parameter(0.02 * torch.randn(heads, events + 1))
        self.mix = nn.Linear(heads * kept, size)
        self.second_norm = nn.LayerNorm(size, elementwise_affine=False)
        self.feed = nn.Sequential(nn.Linear(size, 2 * size), nn.SiLU(), nn.Linear(2 * size, size))
        with torch.no_grad():
            self.read.bias[-1] = 4.0  # Before it has learnt, an event leaves 0.98 of the others.

    def step(self, z: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
        """Take ``z [B, size]`` and the state ``[B, events * (kept + 1)]``; return both anew."""
        query, own, gate = self._project(z)
        vectors, weights = torch.split(held, [self.events * self.kept, self.events], dim=1)
        fade = torch.sigmoid(gate)
        # The present event's 1: Pad of opset 20 has no kernel for CUDA in ONNX Runtime 1.23.
        faded = torch.cat((weights * fade, fade.clamp(min=1.0)), dim=1)
        every = torch.cat((vectors, own), dim=1)
        after = torch.cat((every[:, self.kept :], faded[:, 1:]), dim=1)
        seen = every.reshape(-1, self.events + 1, self.kept)
        return self._attend(z, query, seen, faded.log()), after

    def sequence(self, z: Tensor, held: Tensor, past: Past) -> tuple[Tensor, Tensor]:
        """Do the same for ``z [A, T, size]`` at once."""
        query, own, gate = self._project(z)
        vectors, weights = torch.split(held, [self.events * self.kept, self.events], dim=1)
        kept = vectors.reshape(-1, self.events, self.kept)
        carried = torch.cat((kept, torch.zeros_like(weights)[..., None], weights[..., None]), dim=2)
        fade = nn.functional.logsigmoid(gate)
        line = past.line_up(carried, torch.cat((own, fade, torch.ones_like(fade)), dim=2))
        ages = torch.arange(self.events, 0, -1, device=z.device)
        before, faded, first = self._split(past.look_back(line, ages))
        log_weight = nn.functional.pad(fade + faded + first.log(), (0, 1))
        seen = torch.cat((before, own[:, :, None]), dim=2)
        last, faded, first = self._split(past.last(line))
        after = torch.cat((last.flatten(1), first * torch.exp(faded)), dim=1)
        return self._attend(z, query, seen, log_weight), after

    def _project(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the queries ``[..., heads, kept]``, the vector ``[..., kept]`` and the gate."""
        widths = [self.heads * self.kept, self.kept, 1]
        query, own, gate = torch.split(self.read(self.norm(z)), widths, dim=-1)
        return query.reshape(*z.shape[:-1], self.heads, self.kept), own, gate

    def _split(self, slots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take slots apart, the oldest first, ``[..., events, kept + 2]``.

        Returns:
            What was kept ``[..., events, kept]``; the logarithm of how far the events after each
            made it fade; its weight before those, ``[..., events]``.
        """
        vectors, fade, first = torch.split(slots, [self.kept, 1, 1], dim=-1)
        later = nn.functional.pad(fade[..., 1:, 0], (0, 1))
        return vectors, later.flip(-1).cumsum(-1).flip(-1), first[..., 0]

    def _attend(self, z: Tensor, query: Tensor, seen: Tensor, log_weight: Tensor) -> Tensor:
        """Return ``z`` after the block.

        Args:
            z: ``[..., size]``.
            query: ``[..., heads, kept]``.
            seen: the vectors, the present event's last, ``[..., events + 1, kept]``.
            log_weight: of each of them, ``[..., events + 1]``; minus infinity for an empty slot.
        """
        alike = query @ seen.transpose(-1, -2) / math.sqrt(self.kept)
        share = torch.softmax(alike + self.by_age + log_weight[..., None, :], dim=-1)
        z = z + self.mix((share @ seen).flatten(-2))
        fed: Tensor = self.feed(self.second_norm(z))
        return z + fed
