"""Quantiles of what the account's next event will bring, which never cross, and its volatility.

The forecast is of a column of the model, such as a security's return: what the next event's value
of that column will be. It is ``volatility * z`` with a standardised quantile ``z`` for each level:
the volatility is a column of the model times what the network makes of it, and the ``z`` lie
around those of an ordinary event, as in filtered historical simulation (Barone-Adesi et al., 1999).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from engine.layout import StateField
from models.answers.base import Answer, Asked, Said
from models.head import MemberHead, MemberLinear, set_apart

#: How far, at most, the network moves the logarithm of the volatility that it is given.
_MOST_SCALED = 2.0
#: How far the median may lie from 0, in volatilities.
_MOST_CENTRE = 0.15
#: How far, at most, the logarithm of a distance between two quantiles moves from the usual one.
_MOST_SPREAD = 1.0

LEVELS = (0.01, 0.05, 0.5, 0.95, 0.99)


class Quantiles(Answer):
    """``q01`` … ``q99``, ``volatility``, ``probability_up``, ``realised`` and ``shortfall``.

    The score is the loss that one event in a hundred exceeds, ``-q01``, held at 0 or more.
    ``volatility`` is that of a year, ``realised`` the column's value at this event, ``shortfall``
    how far that lies below the ``q01`` that was forecast at the event before: 0 where it does not,
    or where there was none.

    Args:
        of: the column that is forecast, by its name.
        scale: the column with its volatility so far, by its name.
        given: the column that is above 0 where there is such a value, by its name.
        unit: what one of the columns is, as the values are said: 0.01 for percent.
        per_year: how many events there are in a year.
        below, above: the usual distances, in volatilities, from the median to the quantiles at
            5 % and 95 %, and from there to those at 1 % and 99 %.
    """

    outputs = (
        *("q01", "q05", "q50", "q95", "q99"),
        *("volatility", "probability_up", "realised", "shortfall"),
    )
    reasons_in: ClassVar[str] = "log_volatility"
    is_probability: ClassVar[bool] = False

    def __init__(
        self,
        of: str,
        scale: str,
        given: str,
        unit: float = 1.0,
        per_year: float = 252.0,
        below: Sequence[float] = (1.55, 1.05),
        above: Sequence[float] = (1.55, 1.0),
    ) -> None:
        super().__init__()
        if len(below) != 2 or len(above) != 2 or min(*below, *above) <= 0.0:
            raise ValueError(f"below and above must be two distances above 0: {below}, {above}")
        self.of, self.scale, self.has = of, scale, given
        self.unit, self.per_year = float(unit), float(per_year)
        self.columns = (of, scale, given)
        self.usual = torch.tensor([*below, *above]).log()
        self.state = (StateField("forecast_q01", "float32"), StateField("forecasts", "float32"))

    def new_head(
        self, inputs: int, hidden: Sequence[int], dropout: float, members: int
    ) -> MemberHead:
        """See :meth:`Answer.new_head`."""
        return QuantileHead(inputs, hidden, dropout, members)

    def distribution(self, raw: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return the quantiles in the order of :data:`LEVELS`, and the volatility of one event.

        Args:
            raw: what the head gives, ``[..., 7]``.
            scale: the volatility so far, ``[..., 1]``.

        Returns:
            ``[..., 5]`` and ``[..., 1]``.
        """
        volatility = scale * torch.exp(_MOST_SCALED * torch.tanh(raw[..., :1] / _MOST_SCALED))
        centre = _MOST_CENTRE * torch.tanh(raw[..., 1:2])
        moved = _MOST_SPREAD * torch.tanh(raw[..., 2:6] / _MOST_SPREAD)
        low, lower, high, higher = torch.split(
            torch.exp(self.usual.to(raw.device) + moved), 1, dim=-1
        )
        places = (centre - low - lower, centre - low, centre, centre + high, centre + high + higher)
        return torch.cat(places, dim=-1) * volatility, volatility

    def forward(self, raw: Tensor, asked: Asked) -> Said:
        """See :meth:`Answer.forward`."""
        quantiles, volatility = self.distribution(raw, asked.columns[self.scale])
        quantiles, volatility = quantiles * self.unit, volatility * self.unit
        realised, before = asked.columns[self.of] * self.unit, asked.state["forecast_q01"]
        known = (asked.state["forecasts"] > 0.5) & (asked.columns[self.has] > 0.0)
        shortfall = torch.where(known, (before - realised).clamp(min=0.0), 0.0)
        first = quantiles[:, :1]
        each = torch.split(quantiles, 1, dim=1)
        yearly = volatility * self.per_year**0.5
        values = (*each, yearly, torch.sigmoid(raw[:, 6:7]), realised, shortfall)
        state: Mapping[str, Tensor] = {
            "forecast_q01": first,
            "forecasts": torch.ones_like(first),
        }
        return Said((-first).clamp(min=0.0), values, state)

    def level(self, raw: Tensor) -> Tensor:
        """See :meth:`Answer.level`: the logarithm of the volatility."""
        return _MOST_SCALED * torch.tanh(raw[:, :1] / _MOST_SCALED)


class QuantileHead(MemberHead):
    """Layers with SiLU beside a linear path, whose seven outputs begin at 0; several in one.

    Members share the layers' weights, as in :class:`models.head.Head`; what they give is averaged.

    Args:
        inputs: the width of the encoded features and the cell's output together.
        hidden: the widths of the layers.
        dropout: the share of units left out in training.
        members: how many.
    """

    def __init__(
        self, inputs: int, hidden: Sequence[int], dropout: float, members: int = 1
    ) -> None:
        super().__init__()
        self.count = members
        layers: list[nn.Module] = []
        width = inputs
        for size in hidden:
            layers += [MemberLinear(width, size, members), nn.SiLU(), nn.Dropout(dropout)]
            width = size
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(width, 7)
        self.linear = nn.Linear(inputs, 7, bias=False)
        for each in (self.last.weight, self.last.bias, self.linear.weight):
            nn.init.zeros_(each)
        set_apart(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., inputs]`` to ``[..., 7]``, float32: the members' mean."""
        return self.members(x).mean(-2)

    def members(self, x: Tensor) -> Tensor:
        """Map ``[..., inputs]`` to ``[..., members, 7]``, float32."""
        x = x[..., None, :]
        return self.last(self.layers(x)) + self.linear(x)  # type: ignore[no-any-return]
