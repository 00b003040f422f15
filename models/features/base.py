"""What a feature is, and what the features of one event share.

Every tensor has the batch in front. ``B`` is the batch, ``R`` the length of the ring.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from engine.layout import StateField

DAY_MS = 86_400_000
DAY_S = 86_400.0


#: Tensors ``[B, k]`` that stand for the one they make side by side. Each concatenation that is
#: put off is a node less in the graph.
Pieces = Tensor | tuple[Tensor, ...]


class Output(NamedTuple):
    """One column that a feature makes, and the group of reasons it belongs to."""

    name: str
    group: str


@dataclass(frozen=True, slots=True)
class Context:
    """What all features may read of a batch of events and of the events before each.

    Args:
        events: the event's fields by name, ``[B]``.
        shared: the buckets of shared entities by input (``shared_<name>``), float32
            ``[B, buckets, quantities]``.
        time_ms: the event's own time, int64 ``[B, 1]``.
        now_ms: the later of that and the account's last time, int64 ``[B, 1]``. Ages are taken
            from here, so that they are never negative.
        lag_ms: how much older the event is than the account's last, int64 ``[B, 1]``; 0 if newer.
        gap_ms: ``now`` minus the account's last time, int64 ``[B, 1]``; ``now`` for a new account.
        gap_s: the same in seconds, float32 ``[B, 1]``; 0 for a new account.
        earlier: the number of earlier events, float32 ``[B, 1]``.
        first: whether there is none, bool ``[B, 1]``.
        amount: the amount of the event, float32 ``[B, 1]``.
        counterparty: its code (see :mod:`models.features.ring`), float32 ``[B, 1]``.
        counterparty_hash: its hash, int64 ``[B, 1]``; 0 if the scorer has none.
        ring_amount: the amounts of the last events, newest first, float32 ``[B, R]``.
        ring_counterparty: their counterparties' codes, float32 ``[B, R]``.
        ring_age_ms: how long before ``now`` they were, int64 ``[B, R]``; in an empty slot longer
            than any window.
        ring_held: which slots of the ring hold an event, bool ``[B, R]``.
    """

    events: Mapping[str, Tensor]
    shared: Mapping[str, Tensor]
    time_ms: Tensor
    now_ms: Tensor
    lag_ms: Tensor
    gap_ms: Tensor
    gap_s: Tensor
    earlier: Tensor
    first: Tensor
    amount: Tensor
    counterparty: Tensor
    counterparty_hash: Tensor
    ring_amount: Tensor
    ring_counterparty: Tensor
    ring_age_ms: Tensor
    ring_held: Tensor


class Feature(nn.Module):
    """A module that turns an event and what is known of its account into columns.

    A subclass sets the three attributes in its constructor, whose keyword arguments are the
    options that a scorer's declaration may give. All-zero state means that nothing is known.

    Attributes:
        outputs: the columns it makes, in order.
        state: its part of the account's state; may be empty.
        reads: fields of the event it reads beyond id, time, amount and counterparty.
    """

    outputs: tuple[Output, ...]
    state: tuple[StateField, ...] = ()
    reads: tuple[str, ...] = ()

    def forward(self, context: Context, state: Mapping[str, Tensor]) -> FeatureResult:
        """Return the columns and the new state.

        Args:
            context: see :class:`Context`.
            state: each of its state fields by name, ``[B, size]``.
        """
        raise NotImplementedError


class FeatureResult(NamedTuple):
    """What a feature makes of a batch.

    ``columns`` are float32 ``[B, k]`` each, and together ``[B, len(outputs)]``; ``state`` is field
    name to its new value ``[B, size]``, in one piece or in several to be put side by side.
    """

    columns: tuple[Tensor, ...]
    state: Mapping[str, Pieces]
