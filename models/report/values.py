"""How values are written for people, in HTML, in Markdown and in a terminal alike."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from enum import StrEnum

#: A value of a table. None is one that the data do not allow.
Cell = str | int | float | None

#: What stands where there is no value.
NONE = "–"


class Kind(StrEnum):
    """What a value is, and so how it is written."""

    TEXT = "text"  #: as it is, on the left
    CODE = "code"  #: as it is, in the font of code
    COUNT = "count"  #: a whole number, 1,234
    NUMBER = "number"  #: three digits that matter
    SHARE = "share"  #: a share of 1 as a percentage
    SCORE = "score"  #: a probability or a measure from 0 to 1, four decimals
    MONEY = "money"  #: whole units of the amounts' currency
    DATE = "date"  #: milliseconds since 1970 as a day, UTC
    TIME = "time"  #: milliseconds since 1970 as a time, UTC

    @property
    def is_number(self) -> bool:
        """Whether values of this kind are aligned on the right."""
        return self not in (Kind.TEXT, Kind.CODE)


def shown(value: Cell, kind: Kind | str = Kind.TEXT) -> str:
    """Return a value as text; a dash for None and for what is not finite.

    >>> shown(1234, "count"), shown(0.0123, "share"), shown(-1234.5, "money"), shown(None, "score")
    ('1,234', '1.23 %', '−1,234', '–')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NONE
    if isinstance(value, str):
        return value
    return _WRITE[Kind(kind)](float(value)).replace("-", "−" if kind not in _TIMES else "-")


def _number(value: float) -> str:
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 8)}f}"


def _share(value: float) -> str:
    percent = 100 * value
    if percent in (0, 100):
        return f"{percent:.0f} %"
    return f"{percent:.1f} %" if abs(percent) >= 10 else f"{percent:.2f} %"


def _money(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def _date(value: float) -> str:
    return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d")


def _time(value: float) -> str:
    return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


_TIMES = (Kind.DATE, Kind.TIME)
_WRITE = {
    Kind.TEXT: lambda value: f"{value:,.6g}",
    Kind.CODE: lambda value: f"{value:g}",
    Kind.COUNT: lambda value: f"{value:,.0f}",
    Kind.NUMBER: _number,
    Kind.SHARE: _share,
    Kind.SCORE: lambda value: f"{value:.4f}",
    Kind.MONEY: _money,
    Kind.DATE: _date,
    Kind.TIME: _time,
}
