"""Features of daily bars: the security's own returns, and its market's up to yesterday.

Returns are logarithmic and in percent. Variances are exponentially weighted means that begin at a
prior; a return counts in them up to a number of its own volatilities, so that one bad price does
not stay for months.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from engine.layout import StateField
from engine.shared import SharedEntity
from models.features.base import DAY_MS, Context, Feature, FeatureResult, Output
from models.features.entity import EntityFeature

#: The variance and the mean size of a day's return before anything is known, in percent.
_PRIOR_SQUARE, _PRIOR_SIZE = 4.0, 1.5
_LEAST = 1e-4
#: A larger move is held to this in columns that the network sees, in volatilities.
_MOST_MOVES = 12.0
#: After so many days without a bar, a return is that of a gap and not of a day.
MOST_DAYS = 30.0


class Returns(Feature):
    """What a bar's return says beside those before it.

    ``returned`` is 1 where there is a return: not at a first bar, nor after ``most_days`` without
    one. ``return`` is that return as it is, ``held_return`` the same held to ``held`` volatilities
    either way, ``square`` the square of that, ``scale`` the volatility of a half-life of
    ``scale_days``. The other columns are logarithms of volatilities and sizes of several half-lives
    by that of ``slow_days``, and the return by some of these.

    Args:
        volatility_days, size_days, loss_days, trend_days: the half-lives, in bars.
        scale_days, slow_days: two of the first of these.
        held: see above.
        held_days: the half-life of the volatility by which returns are held.
        most_days: after so many days a return is that of a gap, and not of a day.
        split: the field that says how many shares one share has become.
    """

    decay: Tensor

    def __init__(
        self,
        volatility_days: Sequence[float] = (1, 2, 4, 8, 16, 32, 64, 128, 256),
        size_days: Sequence[float] = (2, 8, 32),
        loss_days: Sequence[float] = (1, 3, 8, 24, 64),
        trend_days: Sequence[float] = (2, 8, 32, 128),
        scale_days: float = 16,
        slow_days: float = 128,
        held: float = 8.0,
        held_days: float = 20.0,
        most_days: float = MOST_DAYS,
        split: str = "split",
    ) -> None:
        super().__init__()
        self.parts = [len(each) for each in (volatility_days, size_days, loss_days, trend_days)]
        self.scale, self.slow = (
            list(volatility_days).index(each) for each in (scale_days, slow_days)
        )
        self.fast = list(volatility_days).index(8)
        self.held, self.most_ms, self.split = held, round(most_days * DAY_MS), split
        self.reads = (split,)
        days = [*volatility_days, *size_days, *loss_days, *trend_days, held_days]
        step = [1.0 - 0.5 ** (1.0 / each) for each in days]
        self.register_buffer("step", torch.tensor([step]), persistent=False)
        prior = [_PRIOR_SQUARE] * self.parts[0] + [_PRIOR_SIZE] * self.parts[1]
        prior += [_PRIOR_SQUARE / 2.0] * self.parts[2] + [0.0] * self.parts[3] + [_PRIOR_SQUARE]
        self.register_buffer("prior", torch.tensor([prior]), persistent=False)
        root = torch.tensor([[math.sqrt(each) for each in trend_days]])
        self.register_buffer("root", root, persistent=False)
        others = [each for each in volatility_days if each != slow_days]
        self.others = [at for at, each in enumerate(volatility_days) if each != slow_days]
        self.outputs = (
            *(Output(name, "return") for name in ("returned", "return", "held_return", "square")),
            Output("scale", "volatility"),
            *(Output(f"volatility_{each:g}d", "volatility") for each in others),
            Output("volatility_slow", "volatility"),
            *(Output(name, "return") for name in ("move", "move_size", "drop", "move_fast")),
            Output("move_log", "return"),
            *(Output(f"size_{each:g}d", "volatility") for each in size_days),
            *(Output(f"loss_{each:g}d", "losses") for each in loss_days),
            *(Output(f"trend_{each:g}d", "trend") for each in trend_days),
        )
        self.state = (
            StateField("bars", "float32"),
            StateField("last_price", "float32"),
            StateField("means", "float32", (len(days),)),
        )

    step: Tensor
    prior: Tensor
    root: Tensor

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        price, last, bars = context.amount, state["last_price"], state["bars"]
        known = bars > 0.5
        usable = known & (context.gap_ms > 0) & (context.gap_ms <= self.most_ms)
        ratio = price * context.events[self.split][:, None] / torch.where(known, last, price)
        value = torch.where(usable, 100.0 * torch.log(ratio), 0.0)
        means = torch.where(known, state["means"], self.prior)
        bound = self.held * torch.sqrt(means[:, -1:].clamp(min=_LEAST))
        held = torch.maximum(torch.minimum(value, bound), -bound)
        square = held * held
        seen = self._seen(held, square)
        after = torch.where(usable, means + (seen - means) * self.step, means)
        returned = usable.float()
        columns = (returned, value, held, square, *self._columns(held, after))
        new = {"bars": (bars + 1.0).clamp(max=2.0), "last_price": price, "means": after}
        return FeatureResult(columns, new)

    def _seen(self, held: Tensor, square: Tensor) -> Tensor:
        """Return what each mean is moved towards, ``[B, means]``."""
        volatility, size, loss, trend = self.parts
        loss_square = torch.where(held < 0.0, square, 0.0)
        parts = (
            square.expand(-1, volatility),
            held.abs().expand(-1, size),
            loss_square.expand(-1, loss),
            held.expand(-1, trend),
            square,
        )
        return torch.cat(parts, dim=1)

    def _columns(self, held: Tensor, means: Tensor) -> tuple[Tensor, ...]:
        squares, sizes, losses, trends, _ = torch.split(means, [*self.parts, 1], dim=1)
        volatility = torch.sqrt(squares.clamp(min=_LEAST**2))
        slow = volatility[:, self.slow : self.slow + 1]
        scale = volatility[:, self.scale : self.scale + 1]
        move = (held / slow).clamp(-_MOST_MOVES, _MOST_MOVES)
        fast = volatility[:, self.fast : self.fast + 1]
        return (
            scale,
            _log(volatility[:, self.others] / slow),
            _log(slow),
            move,
            move.abs(),
            move.clamp(max=0.0),
            (held / fast).clamp(-_MOST_MOVES, _MOST_MOVES),
            torch.log(move.abs() + 0.05),
            _log(sizes / slow),
            _log(torch.sqrt(losses.clamp(min=0.0)) / slow),
            trends / slow * self.root,
        )


class Market(EntityFeature):
    """How volatile the market has been up to yesterday, from its entity's daily sums.

    Of each day: the mean square of all securities' returns, and the square of their mean. The
    columns are logarithms of volatilities with several half-lives, by that of the longest.

    Args:
        entity, group: see :class:`EntityFeature`.
        days: half-lives of the mean square, in days of the calendar, the longest last.
        common_days: those of the square of the mean.
    """

    weights: Tensor
    common_weights: Tensor

    def __init__(
        self,
        entity: SharedEntity,
        days: Sequence[float] = (1.4, 4, 11, 28, 84),
        common_days: Sequence[float] = (3, 11, 42),
        group: str | None = None,
    ) -> None:
        super().__init__(entity, group)
        self.places = [self.place(each) for each in ("bars", "squares", "returns")]
        self.register_buffer("weights", self._decays(days), persistent=False)
        self.register_buffer("common_weights", self._decays(common_days), persistent=False)
        names = [f"market_{each:g}d" for each in days[:-1]] + ["market_slow"]
        names += [f"market_common_{each:g}d" for each in common_days] + ["market_last_move"]
        self.outputs = tuple(Output(name, self.group) for name in names)

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """See :meth:`models.features.base.Feature.forward`."""
        bars, squares, returns = (self.buckets(context, each) for each in self.places)
        bars, squares = bars.clamp(min=0.0), squares.clamp(min=0.0)
        mean = returns / bars.clamp(min=1.0)
        held = (bars > 0.5).float()
        volatility = torch.sqrt(_ratio(squares @ self.weights, bars @ self.weights))
        common = torch.sqrt(
            _ratio((mean * mean * held) @ self.common_weights, held @ self.common_weights, 1.0)
        )
        slow = volatility[:, -1:]
        last = (mean * held) @ self.weights[:, :1] / (held @ self.weights[:, :1]).clamp(min=_LEAST)
        columns = (_log(volatility[:, :-1] / slow), _log(slow), _log(common / slow), last / slow)
        return FeatureResult(columns, {})

    def _decays(self, days: Sequence[float]) -> Tensor:
        age = torch.arange(self.entity.buckets)[:, None].float()
        decays: Tensor = 0.5 ** (age / torch.tensor([[float(each) for each in days]]))
        return decays


def _ratio(total: Tensor, weight: Tensor, prior: float = _PRIOR_SQUARE) -> Tensor:
    """Return means with a little of the prior, which is all there is of an unknown market."""
    return (total + prior * _LEAST) / (weight + _LEAST)


def _log(value: Tensor) -> Tensor:
    return torch.log(value.clamp(min=_LEAST))
