"""The ring of an account's last events, which several features and the duplicate check read.

The ring is a shift register, the newest event first. A slot holds the event id's hash, the
event's own time, its amount, the code of its counterparty and the score it was given.

A counterparty's code is its hash rounded to float32: equal hashes have equal codes, and two
different counterparties look the same once in some ten million, which is harmless in a feature.

ONNX Runtime's Max, Min, Clip and Sign return wrong int64 results on x86-64 where its Eigen lacks a
fix (github.com/microsoft/onnxruntime/pull/25280); times are compared and chosen with Where.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from engine.layout import StateField
from models.features.base import Context, Pieces

#: The age of an empty slot: longer than any window.
_NEVER_MS = 1 << 62


class RingFields(NamedTuple):
    """The event's fields that go into the ring; ``counterparty`` may be absent."""

    event_id: str
    event_time: str
    amount: str
    counterparty: str | None


class Repeat(NamedTuple):
    """``duplicate`` bool ``[B, 1]``; ``score`` float32 ``[B, 1]``, its first answer or 0.

    ``outputs`` float32 ``[B, k]`` is the rest of that answer.
    """

    duplicate: Tensor
    score: Tensor
    outputs: Tensor


class Ring(nn.Module):
    """Reads and shifts the ring.

    Args:
        fields: the names of the fields that go into it.
        length: how many events it holds.
        outputs: how many values an answer has beside its score.
    """

    slots: Tensor

    def __init__(self, fields: RingFields, length: int, outputs: int = 0) -> None:
        super().__init__()
        self.fields = fields
        self.length = length
        self.outputs = outputs
        self.register_buffer("slots", torch.arange(length).float()[None], persistent=False)
        self.state: tuple[StateField, ...] = (
            StateField("ring_id", "int64", (length,)),
            StateField("ring_time", "int64", (length,)),
            StateField("last_time", "int64"),
            StateField("events", "float32"),
            StateField("ring_amount", "float32", (length,)),
            StateField("ring_score", "float32", (length,)),
        )
        if fields.counterparty is not None:
            self.state += (StateField("ring_counterparty", "float32", (length,)),)
        if outputs:
            self.state += (StateField("ring_outputs", "float32", (length, outputs)),)

    def context(
        self,
        events: Mapping[str, Tensor],
        state: Mapping[str, Tensor],
        shared: Mapping[str, Tensor],
    ) -> Context:
        """Return what the features share.

        Args:
            events: field name to ``[B]``.
            state: the ring's state fields by name, ``[B, size]``.
            shared: the entity's input to ``[B, buckets, quantities]``.
        """
        time_ms = events[self.fields.event_time][:, None]
        amount = events[self.fields.amount][:, None]
        last_ms, earlier = state["last_time"], state["events"]
        now_ms = torch.where(time_ms > last_ms, time_ms, last_ms)
        gap_ms = now_ms - last_ms
        counterparty = self._counterparty(events)
        first = earlier < 0.5
        held = self.slots < earlier
        return Context(
            events=events,
            shared=shared,
            time_ms=time_ms,
            now_ms=now_ms,
            lag_ms=now_ms - time_ms,
            gap_ms=gap_ms,
            gap_s=torch.where(first, 0.0, gap_ms.float() * 1e-3),
            earlier=earlier,
            first=first,
            amount=amount,
            counterparty=counterparty.float(),
            counterparty_hash=counterparty,
            ring_amount=state["ring_amount"],
            ring_counterparty=self._ring_counterparty(state),
            ring_age_ms=torch.where(held, now_ms - state["ring_time"], _NEVER_MS),
            ring_held=held,
        )

    def repeat(self, context: Context, state: Mapping[str, Tensor]) -> Repeat:
        """Return whether each event's id is in the ring, and the score it was given then."""
        event_id = context.events[self.fields.event_id][:, None]
        found = ((state["ring_id"] == event_id) & context.ring_held).float()
        return Repeat(
            duplicate=found.sum(1, keepdim=True) > 0.5,
            score=(found * state["ring_score"]).sum(1, keepdim=True),
            outputs=self._first_outputs(found, state),
        )

    def _first_outputs(self, found: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        if not self.outputs:
            return found[:, :0]
        held = state["ring_outputs"].reshape(-1, self.length, self.outputs)
        return (found[:, :, None] * held).sum(1)

    def shifted(
        self, context: Context, state: Mapping[str, Tensor], score: Tensor, outputs: Tensor
    ) -> dict[str, Pieces]:
        """Return the ring's new state once an event's answer is known.

        Args:
            context: of the event.
            state: the ring's state fields by name, ``[B, size]``.
            score: ``[B, 1]``.
            outputs: the values beside it, ``[B, k]``.
        """
        keep = self.length - 1
        event_id = context.events[self.fields.event_id][:, None]
        newest = {
            "ring_id": event_id,
            "ring_time": context.time_ms,
            "ring_amount": context.amount,
            "ring_score": score,
        }
        if self.fields.counterparty is not None:
            newest["ring_counterparty"] = context.counterparty
        shifted: dict[str, Pieces] = {
            name: (value, state[name][:, :keep]) for name, value in newest.items()
        }
        if self.outputs:
            shifted["ring_outputs"] = (outputs, state["ring_outputs"][:, : keep * self.outputs])
        return {**shifted, "last_time": context.now_ms, "events": context.earlier + 1.0}

    def _ring_counterparty(self, state: Mapping[str, Tensor]) -> Tensor:
        if self.fields.counterparty is None:
            return torch.zeros_like(state["ring_amount"])
        return state["ring_counterparty"]

    def _counterparty(self, events: Mapping[str, Tensor]) -> Tensor:
        if self.fields.counterparty is None:
            return torch.zeros_like(events[self.fields.event_time])[:, None]
        return events[self.fields.counterparty][:, None]
