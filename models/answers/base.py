"""What an answer is: from what the head gives to the score and the values beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from engine.layout import StateField
from engine.manifest import LOG_ODDS
from models.head import Head, MemberHead


class Asked(NamedTuple):
    """What an answer may read beside the head's output.

    Args:
        events: the event's fields that it reads, by name, ``[B]``.
        columns: the columns of the features that it reads, by name, float32 ``[B, 1]``.
        state: its own fields of the account's state, by name, ``[B, size]``.
        parameters: by name, float32 ``[B, 1]``.
    """

    events: Mapping[str, Tensor]
    columns: Mapping[str, Tensor]
    state: Mapping[str, Tensor]
    parameters: Mapping[str, Tensor]


class Said(NamedTuple):
    """``score`` float32 ``[B, 1]``; ``values`` float32 ``[B, 1]`` each; the new state."""

    score: Tensor
    values: tuple[Tensor, ...] = ()
    state: Mapping[str, Tensor] = {}


class Answer(nn.Module):
    """Turns what the head gives into what a bundle says.

    A subclass sets the attributes in its constructor, whose keyword arguments are the options
    that ``[output]`` in ``scorer.toml`` may give.

    Attributes:
        outputs: the names of the values beside the score, in order.
        state: its part of the account's state.
        reads: the event's fields that it reads.
        columns: the features' columns that it reads.
        given: the parameters: numbers that the configuration may change, with their defaults.
        bounds: of parameters that have them, the least and the largest value.
        reasons_in: what :meth:`level` is counted in.
        is_probability: whether the score is the probability that an event is positive: it is
            then learnt from labels and calibrated.
    """

    outputs: tuple[str, ...] = ()
    state: tuple[StateField, ...] = ()
    reads: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    given: Mapping[str, float] = {}
    bounds: Mapping[str, tuple[float, float]] = {}
    reasons_in: ClassVar[str] = LOG_ODDS
    is_probability: ClassVar[bool] = True

    def new_head(
        self, inputs: int, hidden: Sequence[int], dropout: float, members: int
    ) -> MemberHead:
        """Return the network that this reads; its output is ``[..., k]``."""
        raise NotImplementedError

    def forward(self, raw: Tensor, asked: Asked) -> Said:
        """Return the answer to events whose head gave ``raw [B, k]``."""
        raise NotImplementedError

    def level(self, raw: Tensor) -> Tensor:
        """Return what reasons push up, float32 ``[B, 1]``: the log-odds of a probability."""
        raise NotImplementedError


class Probability(Answer):
    """The probability that the event is positive."""

    def new_head(
        self, inputs: int, hidden: Sequence[int], dropout: float, members: int
    ) -> MemberHead:
        """See :meth:`Answer.new_head`."""
        return Head(inputs, hidden, dropout, members)

    def forward(self, raw: Tensor, asked: Asked) -> Said:
        """See :meth:`Answer.forward`. ``raw`` is the calibrated log-odds ``[B, 1]``."""
        return Said(torch.sigmoid(raw))

    def level(self, raw: Tensor) -> Tensor:
        """See :meth:`Answer.level`."""
        return raw
