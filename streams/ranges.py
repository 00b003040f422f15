"""Whether a topic still holds what a position points at: where to go on, and what was lost."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import StreamError

_REMEDY = (
    "was the topic made again, or its broker restarted empty? Set another app.id (app.id, "
    "RISKSTREAM_APP__ID) to score it from its beginning, with new states"
)


@dataclass(frozen=True, slots=True)
class Held:
    """The offsets that a partition holds.

    Args:
        beginning: the first.
        end: the one that the next record gets; None where the broker does not tell it right.
    """

    beginning: int
    end: int | None


@dataclass(frozen=True, slots=True)
class Start:
    """Where a partition goes on, and how many events before that were deleted unscored.

    Args:
        offset: the next record to read.
        lost: how many were deleted.
        is_caught_up: whether there is nothing to read, as far as the broker tells.
    """

    offset: int
    lost: int
    is_caught_up: bool = False


def start_at(topic: str, partition: int, position: int | None, held: Held) -> Start:
    """Return where a partition goes on that the store holds a position of.

    Args:
        topic: the topic.
        partition: the partition.
        position: the next offset to score; None for the beginning.
        held: what the partition holds.

    Raises:
        StreamError: the position lies beyond the partition's end.

    >>> start_at("payments", 0, 7, Held(beginning=10, end=20))
    Start(offset=10, lost=3, is_caught_up=False)
    """
    if position is None:
        return Start(held.beginning, 0, held.beginning == held.end)
    if held.end is not None and position > held.end:
        raise StreamError(
            f"the position of partition {partition} of {topic} must not lie beyond its end, "
            f"however: position {position}, end {held.end}; {_REMEDY}"
        )
    offset = max(position, held.beginning)
    return Start(offset, max(held.beginning - position, 0), offset == held.end)


def turned_back(topic: str, partition: int, expected: int, found: int) -> StreamError:
    """Return the error of a partition that gives records from before those asked for."""
    return StreamError(
        f"partition {partition} of {topic} must go on at offset {expected}, however: its records "
        f"begin at {found}; {_REMEDY}"
    )
