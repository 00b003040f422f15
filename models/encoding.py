"""Bringing features to one scale, inside the graph.

Each feature enters the network twice: mapped to a standard normal by its quantiles (a piecewise
linear map, constant beyond its ends), and as ``sign(x) log(1 + |x|)``, standardised. The first
sees order, the second distance.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

#: Standardised values are held to this many standard deviations.
_CLIP = 8.0
#: Quantiles nearer than this part of the feature's spread, or of its size, are one knot: no
#: segment is so steep that rounding shows.
_LEAST_WIDTH = 1e-3
#: A feature that varies by less than this is as good as constant: what varies is rounding.
_LEAST_SPREAD = 1e-2
_TAIL = 2e-4


class Encoder(nn.Module):
    """Maps features ``[..., f]`` to ``[..., 2 f]``, once it has been fitted.

    Args:
        features: ``f``, the number of features.
        knots: the number of linear segments of the quantile map.
    """

    start: Tensor
    inverse_width: Tensor
    rise: Tensor
    base: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, features: int, knots: int = 16) -> None:
        super().__init__()
        self.features, self.knots = features, knots
        self.output_size = 2 * features
        for name in ("start", "inverse_width", "rise"):
            self.register_buffer(name, torch.zeros(features, knots))
        for name in ("base", "shift"):
            self.register_buffer(name, torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def forward(self, features: Tensor) -> Tensor:
        """Return the encoded features: float32 ``[..., f]`` to ``[..., 2 f]``."""
        place = ((features[..., None] - self.start) * self.inverse_width).clamp(0.0, 1.0)
        by_order = (place * self.rise).sum(-1) + self.base
        logged = torch.sign(features) * torch.log1p(features.abs())
        by_size = ((logged - self.shift) * self.scale).clamp(-_CLIP, _CLIP)
        return torch.cat((by_order, by_size), dim=-1)

    def fit(self, features: NDArray[np.float32]) -> None:
        """Take the quantiles, mean and spread of a sample of training events.

        Args:
            features: float32 ``[n, f]``, ``n >= 1``.
        """
        logged = np.sign(features) * np.log1p(np.abs(features))
        spread = logged.std(axis=0)
        self.shift.copy_(torch.from_numpy(logged.mean(axis=0)))
        self.scale.copy_(torch.from_numpy(1.0 / np.where(spread > _LEAST_SPREAD, spread, 1.0)))
        for at in range(self.features):
            self._fit_quantiles(at, features[:, at].astype(np.float64))

    def _fit_quantiles(self, at: int, values: NDArray[np.float64]) -> None:
        knots, normal = _normal_scores(np.sort(values), self.knots)
        width = np.diff(knots)
        rows = np.zeros((3, self.knots))
        rows[0, : len(width)] = knots[:-1]
        rows[1, : len(width)] = 1.0 / width
        rows[2, : len(width)] = np.diff(normal)
        for name, row in zip(("start", "inverse_width", "rise"), rows, strict=True):
            getattr(self, name)[at] = torch.from_numpy(row).float()
        self.base[at] = float(normal[0])


def _normal_scores(
    values: NDArray[np.float64], segments: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return knots, ascending, and the normal score of each (of the middle of its ties).

    The levels of the quantiles are even on the scale of the normal, so that tails have knots too.
    """
    end = float(_quantile(np.array([_TAIL]))[0])
    levels = _cumulative(np.linspace(end, -end, segments + 1))
    knots = np.unique(np.quantile(values, levels))
    least = _LEAST_WIDTH * max(float(values.std()), float(np.abs(values).max()), _LEAST_SPREAD)
    keep = [knots[0]]
    for knot in knots[1:]:
        if knot - keep[-1] > least:
            keep.append(knot)
    chosen = np.array(keep)
    below = np.searchsorted(values, chosen, side="left") / len(values)
    upto = np.searchsorted(values, chosen, side="right") / len(values)
    return chosen, _quantile(np.clip((below + upto) / 2, _TAIL, 1 - _TAIL))


def _quantile(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard normal's quantiles."""
    return np.asarray(torch.special.ndtri(torch.from_numpy(levels)), dtype=np.float64)


def _cumulative(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard normal's distribution function."""
    return np.asarray(torch.special.ndtr(torch.from_numpy(z)), dtype=np.float64)
