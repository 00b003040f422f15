"""States that cannot be rebuilt: the store lost them, and the topic no longer holds their events.

Where the store is behind what was scored, the events between are scored again. Where retention has
deleted some of them meanwhile, scores would go on with states that never saw them. So such a
partition waits until somebody has accepted the loss (`riskstream state repair`).
"""

from __future__ import annotations

from dataclasses import dataclass

from streams.committed import Committed
from streams.ranges import Held
from streams.store.generations import generation_of


@dataclass(frozen=True, slots=True)
class Loss:
    """What a partition's states have lost for good.

    Args:
        topic: the input topic.
        partition: its number.
        position: the offset that the store holds; None where it holds none.
        scored: the offset up to which records had been processed, by what Kafka was told.
        beginning: the first offset that the topic still holds.
    """

    topic: str
    partition: int
    position: int | None
    scored: int
    beginning: int

    @property
    def records(self) -> int:
        """How many records' effects are lost, at most: those before the first may be older."""
        return min(self.scored, self.beginning) - (self.position or 0)

    def __str__(self) -> str:
        held = "nothing" if self.position is None else f"it up to offset {self.position}"
        return (
            f"partition {self.partition} of {self.topic} must be rebuilt from its records, "
            f"however: the state store holds {held}, it had been processed up to {self.scored}, "
            f"and Kafka holds it from {self.beginning} on: the effect of the records from "
            f"{self.position or 0} to {min(self.scored, self.beginning) - 1} is lost. It waits "
            "until `riskstream state repair` accepts that, or a store with later states is restored"
        )


def loss_of(
    topic: str,
    partition: int,
    position: int | None,
    held: Held,
    committed: Committed | None,
    note: str,
) -> Loss | None:
    """Return what a partition's states have lost for good; None where they have not.

    Args:
        topic: the input topic.
        partition: its number.
        position: the offset that the store holds; None where it holds none.
        held: what the topic holds.
        committed: the offset that Kafka was told.
        note: the states in use. Offsets of other states say nothing of these.

    >>> loss_of("payments", 0, 100, Held(500, 1000), Committed(900, "d1"), "d1").records
    400
    >>> loss_of("payments", 0, None, Held(500, 1000), Committed(900, "d0"), "d1") is None
    True
    """
    if committed is None or not _is_of(committed.note, note):
        return None
    if min(committed.offset, held.beginning) <= (position or 0):
        return None
    return Loss(topic, partition, position, committed.offset, held.beginning)


def _is_of(note: str, wanted: str) -> bool:
    """Whether an offset is of these states, or of a later generation that the store has lost."""
    digest, generation = generation_of(note)
    mine, current = generation_of(wanted)
    return digest == mine and generation >= current
