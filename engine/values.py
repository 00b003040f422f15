"""How the value of a field in JSON becomes the value of its column."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from engine.schema import Field, FieldType, TimeFormat

#: The least and the greatest time an event can have: 1970 and the end of the year 9999.
MIN_TIME_MS = 0
MAX_TIME_MS = 253_402_300_799_999

#: Fewer values than these take less time one by one than as a column.
FEW = 64

#: Stands for a time that is none, below every time there is.
NO_TIME_MS = -(2**62)


def json_type(field: Field) -> Any:
    """Return the type that the field's JSON value must have, null aside."""
    if field.type is FieldType.NUMBER:
        return float
    if field.type is FieldType.IDENTIFIER:
        return str | int
    if field.type is FieldType.CATEGORY:
        return str | int | float | bool
    return datetime if field.format is TimeFormat.ISO8601 else float


def converter(field: Field) -> Callable[[list[Any]], list[Any]]:
    """Return the function that turns the field's JSON values into values of its column.

    Numbers stay floats, times become integer milliseconds since 1970, everything else becomes
    text. None, which only an optional field has, becomes the default.
    """
    if field.type is FieldType.NUMBER:
        convert: Callable[[list[Any]], list[Any]] = list
    elif field.type is FieldType.TIMESTAMP:
        convert = _TO_MS[field.format]
    else:
        convert = lambda values: [  # noqa: E731
            value if value.__class__ is str else to_text(value) for value in values
        ]
    if field.required:
        return convert
    default: Any = "" if field.default is None else field.default
    if field.type is FieldType.TIMESTAMP and field.format is TimeFormat.ISO8601:
        default = msgspec.convert(default, datetime)
    return lambda values: convert([default if value is None else value for value in values])


def to_text(value: str | int | float | bool) -> str:
    """Return the text of an identifier or a category.

    >>> to_text(17), to_text(True), to_text("a")
    ('17', 'true', 'a')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _from_datetimes(values: list[datetime]) -> list[int]:
    """Return times, UTC where they say no zone, rounded to the nearest millisecond.

    In whole numbers: ``timestamp()`` rounds some halves wrongly. Halves go to the even millisecond,
    as round() has it.
    """
    since = [
        (value if value.tzinfo is not None else value.replace(tzinfo=UTC)) - _EPOCH
        for value in values
    ]
    if len(since) < FEW:
        return [_nearest_ms(each.days, each.seconds, each.microseconds) for each in since]
    days, seconds, microseconds = (
        np.fromiter(map(part, since), dtype=np.int64, count=len(since)) for part in _PARTS
    )
    found: list[int] = _nearest_ms(days, seconds, microseconds).tolist()
    return found


def _nearest_ms(days: Any, seconds: Any, microseconds: Any) -> Any:
    """Return whole milliseconds, of numbers or of columns."""
    us = (days * 86_400 + seconds) * 1_000_000 + microseconds
    return (us + 500) // 1_000 - (us % 2_000 == 500)


def _from_seconds(values: list[float]) -> list[int]:
    return [_rounded(value * 1000) for value in values]


def _from_ms(values: list[float]) -> list[int]:
    return [_rounded(value) for value in values]


def _rounded(ms: float) -> int:
    return round(ms) if math.isfinite(ms) and abs(ms) < 2**53 else NO_TIME_MS


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PARTS = tuple(attrgetter(name) for name in ("days", "seconds", "microseconds"))

_TO_MS: dict[TimeFormat, Callable[[list[Any]], list[int]]] = {
    TimeFormat.ISO8601: _from_datetimes,
    TimeFormat.EPOCH_S: _from_seconds,
    TimeFormat.EPOCH_MS: _from_ms,
}
