"""A batch of events as typed columns, and what was refused of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray


class Reason(StrEnum):
    """Why an event cannot be scored. The names are the ``reason`` label of the metrics."""

    TOMBSTONE = "tombstone"
    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NOT_OBJECT = "not_object"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    NOT_FINITE = "not_finite"
    BELOW_MINIMUM = "below_minimum"
    EMPTY = "empty"
    TOO_LONG = "too_long"
    NOT_A_TIME = "not_a_time"
    BEFORE_1970 = "before_1970"
    IN_THE_FUTURE = "in_the_future"
    WRONG_KEY = "wrong_key"
    NOT_SCORED = "not_scored"
    UNKNOWN_EVENT = "unknown_event"
    BEFORE_EVENT = "before_event"
    OUTDATED = "outdated"


@dataclass(frozen=True, slots=True)
class Reject:
    """An event that cannot be scored.

    Args:
        row: its place in the batch that was decoded.
        reason: the kind of fault.
        detail: a sentence for a person: the rule, and what was found.
        account: the account it was sent for, where that much could be read.
    """

    row: int
    reason: Reason
    detail: str
    account: str | None = None


@dataclass(frozen=True, slots=True)
class Columns:
    """``n`` events, one array a field.

    Args:
        rows: their places in the batch that was decoded; int64 ``[n]``, ascending.
        event_ids: ``n`` event identifiers.
        accounts: ``n`` account identifiers.
        event_time_ms: milliseconds since 1970; int64 ``[n]``.
        values: field name to its column ``[n]``: float32 for numbers, int64 for everything else
            (hashes, milliseconds). These are the graph's inputs.
    """

    rows: NDArray[np.int64]
    event_ids: list[str]
    accounts: list[str]
    event_time_ms: NDArray[np.int64]
    values: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.event_ids)

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Columns:
        """Return the events that a mask or an index array selects, in its order."""
        index = np.flatnonzero(keep) if keep.dtype == np.bool_ else keep
        places = index.tolist()
        return Columns(
            rows=self.rows[index],
            event_ids=[self.event_ids[place] for place in places],
            accounts=[self.accounts[place] for place in places],
            event_time_ms=self.event_time_ms[index],
            values={name: column[index] for name, column in self.values.items()},
        )

    def shifted(self, by: int) -> Columns:
        """Return the same events, their rows counted from ``by`` rows earlier."""
        return replace(self, rows=self.rows + by)

    @staticmethod
    def concatenate(parts: Sequence[Columns]) -> Columns:
        """Return the events of one or more parts, one after the other."""
        first = parts[0]
        return Columns(
            rows=np.concatenate([each.rows for each in parts]),
            event_ids=[event_id for each in parts for event_id in each.event_ids],
            accounts=[account for each in parts for account in each.accounts],
            event_time_ms=np.concatenate([each.event_time_ms for each in parts]),
            values={
                name: np.concatenate([each.values[name] for each in parts]) for name in first.values
            },
        )


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of a batch of records: each row is an event or a reject, never both."""

    columns: Columns
    rejects: list[Reject]

    @property
    def rows(self) -> NDArray[np.int64]:
        """The rows of the events; int64 ``[n]``."""
        return self.columns.rows

    @property
    def time_ms(self) -> NDArray[np.int64]:
        """When each event happened; int64 ``[n]``."""
        return self.columns.event_time_ms

    def part(self, keep: NDArray[np.bool_]) -> Self:
        """Return what became of some of the records, as if only these had been decoded.

        Args:
            keep: which records; bool ``[records]``.
        """
        moved = np.cumsum(keep) - 1
        columns = self.columns.take(keep[self.rows])
        return type(self)(replace(columns, rows=moved[columns.rows]), moved_rejects(self, keep))

    @classmethod
    def joined(cls, parts: Sequence[Self], sizes: Sequence[int]) -> Self:
        """Return what became of one or more batches as one; ``sizes`` are their records."""
        starts = np.cumsum([0, *sizes]).tolist()
        return cls(
            Columns.concatenate(
                [each.columns.shifted(at) for each, at in zip(parts, starts, strict=False)]
            ),
            joined_rejects(parts, starts),
        )


class HasRejects(Protocol):
    """A decoded batch."""

    @property
    def rejects(self) -> list[Reject]:
        """What was refused of it."""
        ...


def moved_rejects(decoded: HasRejects, keep: NDArray[np.bool_]) -> list[Reject]:
    """Return the rejects among the records that are kept, their rows counted among these."""
    moved = (np.cumsum(keep) - 1).tolist()
    return [replace(each, row=moved[each.row]) for each in decoded.rejects if bool(keep[each.row])]


def joined_rejects(parts: Sequence[HasRejects], starts: Sequence[int]) -> list[Reject]:
    """Return the rejects of batches that follow each other, each from its start on."""
    return [
        replace(reject, row=reject.row + start)
        for each, start in zip(parts, starts, strict=False)
        for reject in each.rejects
    ]
