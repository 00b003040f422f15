"""Dilated causal convolutions over an account's last events.

After WaveNet (van den Oord et al., 2016, arXiv:1609.03499) and the temporal convolutional network
(Bai et al., 2018, arXiv:1803.01271). What a layer keeps of each event is narrower than the layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.errors import ConfigError
from models.cells.base import Cell
from models.cells.past import Past


class CnnCell(Cell):
    """Carries a shift register a layer: the last inputs of its convolution, the oldest first.

    Layer ``i`` sees events ``2 ** i`` apart, so that what the head gets depends on the last
    ``1 + (kernel - 1) * (2 ** layers - 1)`` events: 8, if nothing else is said. A register of a
    new account is all zeros, as a causal convolution is padded. The registers take
    ``4 * kept * (kernel - 1) * (2 ** layers - 1)`` bytes: 224, if nothing else is said.

    Args:
        inputs: the width of the encoded features.
        size: the width of the layers, and of what the head gets.
        kept: what each layer keeps of an event, in numbers.
        layers: the number of layers.
        kernel: the events that a layer sees at a time, the present one among them.

    Raises:
        ConfigError: the kernel sees the present event alone.
    """

    def __init__(
        self, inputs: int, size: int = 32, kept: int = 8, layers: int = 3, kernel: int = 2
    ) -> None:
        super().__init__()
        if kernel < 2:
            raise ConfigError(
                f"a convolution's kernel must see 2 events or more, however: {kernel}; "
                "change it in scorer.toml, or take the family mlp"
            )
        self.output_size = size
        self.embed = nn.Linear(inputs, size)
        self._layers = [_Layer(size, kept, kernel, dilation=2**at) for at in range(layers)]
        self.layers = nn.ModuleList(self._layers)
        self._parts = [each.events * kept for each in self._layers]
        self.state_size = sum(self._parts)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`models.cells.base.Cell.step`."""
        z, after = self.embed(x), []
        for layer, register in zip(self._layers, torch.split(h, self._parts, dim=1), strict=True):
            z, new = layer.step(z, register)
            after.append(new)
        return z, torch.cat(after, dim=1)

    def sequence(self, x: Tensor, h: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`models.cells.base.Cell.sequence`."""
        z, after, past = self.embed(x), [], Past(valid)
        for layer, register in zip(self._layers, torch.split(h, self._parts, dim=1), strict=True):
            z, new = layer.sequence(z, register, past)
            after.append(new)
        return z, torch.cat(after, dim=1)


class _Layer(nn.Module):
    """A residual block: ``z + out(silu(conv(z and what the taps kept)))``.

    Args:
        size: the width of ``z``.
        kept: the width of what is kept of an event.
        kernel: how many events the convolution sees.
        dilation: how many events apart they are.
    """

    def __init__(self, size: int, kept: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.kept = kept
        self.events = (kernel - 1) * dilation
        self.ages = list(range(self.events, 0, -dilation))
        self.keep = nn.Linear(size, kept)
        self.conv = nn.Linear(size + (kernel - 1) * kept, size)
        self.out = nn.Linear(size, size)

    def step(self, z: Tensor, register: Tensor) -> tuple[Tensor, Tensor]:
        """Take ``z [B, size]`` and the register ``[B, events * kept]``; return both anew."""
        places = [(self.events - age) * self.kept for age in self.ages]
        taps = [register[:, at : at + self.kept] for at in places]
        after = torch.cat((register[:, self.kept :], self.keep(z)), dim=1)
        return self._block(z, taps), after

    def sequence(self, z: Tensor, register: Tensor, past: Past) -> tuple[Tensor, Tensor]:
        """Do the same for ``z [A, T, size]`` at once."""
        line = past.line_up(register.reshape(-1, self.events, self.kept), self.keep(z))
        taps = past.look_back(line, torch.tensor(self.ages, device=z.device)).flatten(2)
        return self._block(z, [taps]), past.last(line).flatten(1)

    def _block(self, z: Tensor, taps: list[Tensor]) -> Tensor:
        seen = torch.cat((*taps, z), dim=-1)
        inner: Tensor = self.out(nn.functional.silu(self.conv(seen)))
        return z + inner
