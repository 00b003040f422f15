"""What no JSON type can say of a field: bounds, lengths and times, on whole columns.

Each function takes the values of one field, ``n`` of them, and returns its column ``[n]`` with
the faults by place. A value with a fault still has an entry in the column.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from engine.columns import Reason
from engine.schema import Field, FieldType
from engine.values import FEW, MAX_TIME_MS, MIN_TIME_MS, NO_TIME_MS

#: The faults of a column: place to the reason and a sentence.
Faults = dict[int, tuple[Reason, str]]

_SHOWN = 40
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def check_numbers(field: Field, values: Sequence[float]) -> tuple[NDArray[np.float32], Faults]:
    """Numbers must be finite as float32, and not below the field's minimum."""
    wide = np.array(values, dtype=np.float64)
    if _all_within(wide, field.minimum):
        return wide.astype(np.float32), {}
    with np.errstate(over="ignore"):
        column = wide.astype(np.float32)
    faults: Faults = {}
    for place in np.flatnonzero(~np.isfinite(column)).tolist():
        faults[place] = (
            Reason.NOT_FINITE,
            f"{field.path} must be a finite number, however: {values[place]}",
        )
    if field.minimum is not None:
        for place in np.flatnonzero(column < field.minimum).tolist():
            faults.setdefault(
                place,
                (
                    Reason.BELOW_MINIMUM,
                    f"{field.path} must be at least {field.minimum:g}, however: {values[place]:g}",
                ),
            )
    return column, faults


def check_times(
    field: Field, values: Sequence[int], received_ms: int, max_future_ms: int | None
) -> tuple[NDArray[np.int64], Faults]:
    """Times must lie between 1970 and the year 9999, and not too far ahead of their arrival.

    Args:
        field: the field they belong to.
        values: milliseconds since 1970.
        received_ms: when the batch arrived, likewise.
        max_future_ms: how far they may lie ahead of that; None for any distance.
    """
    column = np.array(values, dtype=np.int64)
    latest = MAX_TIME_MS if max_future_ms is None else received_ms + max_future_ms
    faults: Faults = {}
    if not len(column):
        return column, faults
    # Python's own are faster for a few, and numpy's for many.
    few = len(values) < FEW
    least, last = (min(values), max(values)) if few else (column.min(), column.max())
    if least >= MIN_TIME_MS and last <= latest:
        return column, faults
    for place in np.flatnonzero((column < MIN_TIME_MS) | (column > latest)).tolist():
        faults[place] = _time_fault(field, values[place], received_ms, max_future_ms)
    return column, faults


def check_texts(field: Field, values: Sequence[str]) -> Faults:
    """Texts must not be longer than the field allows, and identifiers must not be empty."""
    faults: Faults = {}
    if max(map(len, values), default=0) <= field.max_length and all(values):
        return faults
    lengths = np.fromiter(map(len, values), dtype=np.int64, count=len(values))
    for place in np.flatnonzero(lengths > field.max_length).tolist():
        faults[place] = (
            Reason.TOO_LONG,
            f"{field.path} must have at most {field.max_length} characters, however: "
            f"{lengths[place]:,} ({values[place][:_SHOWN]!r}…)",
        )
    if field.type is FieldType.IDENTIFIER:
        for place in np.flatnonzero(lengths == 0).tolist():
            faults[place] = (Reason.EMPTY, f"{field.path} must not be empty, however: ''")
    return faults


def _all_within(values: NDArray[np.float64], minimum: float | None) -> bool:
    """Whether all numbers are finite as float32, and not below a minimum."""
    if not len(values):
        return True
    least = np.minimum.reduce(values)
    if not (least >= -_FLOAT32_MAX and np.maximum.reduce(values) <= _FLOAT32_MAX):
        # Not a number is neither.
        return False
    return minimum is None or bool(np.float32(least) >= minimum)


def _time_fault(
    field: Field, value_ms: int, received_ms: int, max_future_ms: int | None
) -> tuple[Reason, str]:
    if value_ms == NO_TIME_MS or value_ms > MAX_TIME_MS:
        found = "one far outside" if value_ms == NO_TIME_MS else _iso(value_ms)
        return Reason.NOT_A_TIME, (
            f"{field.path} must be a time from 1970 to the year 9999, however: {found}"
        )
    found = _iso(value_ms)
    if value_ms < MIN_TIME_MS:
        return Reason.BEFORE_1970, f"{field.path} must not be before 1970, however: {found}"
    ahead_s = (value_ms - received_ms) / 1000
    allowed_s = (max_future_ms or 0) / 1000
    return Reason.IN_THE_FUTURE, (
        f"{field.path} must be at most {allowed_s:g} s ahead of its arrival, "
        f"however: {found} is {ahead_s:,.0f} s ahead"
    )


def _iso(value_ms: int) -> str:
    try:
        return datetime.fromtimestamp(value_ms / 1000, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{value_ms:,} ms"
