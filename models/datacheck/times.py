"""Times: out of order, in the future, of the wrong unit, and days without events."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.columns import Reason
from models.datacheck.findings import Finding, Part, Severity, day, percent
from models.datacheck.source import Source
from models.periods import DAY_MS
from models.report import Table

_1990_MS = 631_152_000_000

#: A day with less than this part of the events that its weekday usually has counts as a gap.
_THIN = 0.1
#: Fewer events a day than this, and days without any are to be expected.
_LEAST_A_DAY = 20


def check_times(source: Source) -> Part:
    """Check the order of the rows, the times themselves, and for gaps."""
    gaps = _gaps(source.times)
    findings = [_order(source), _future(source), _unit(source.times), *_gap_findings(gaps)]
    first, last = int(source.times[0]), int(source.times[-1])
    facts = Table(
        ("first event", "last event", ("days", "number"), ("events a day", "number")),
        [_facts(first, last, len(source.times))],
    )
    tables = {"span": facts}
    if gaps:
        rows = [(start, end, (end - start) // DAY_MS + 1) for start, end in gaps]
        tables["gaps"] = Table((("from", "date"), ("to", "date"), ("days", "count")), rows)
    return Part("Times", findings, tables)


def _facts(first: int, last: int, events: int) -> tuple[str, str, float, float]:
    days = max((last - first) / DAY_MS, 1 / 24)
    return day(first), day(last), days, events / days


def _order(source: Source) -> Finding:
    latest = np.maximum.accumulate(source.file_time_ms)
    behind = latest - source.file_time_ms
    late = behind > 0
    if not late.any():
        return Finding("order", Severity.OK, "the rows stand in the order of time")
    row = int(np.argmax(late))
    return Finding(
        "order",
        Severity.WARNING,
        f"{int(late.sum()):,} rows ({percent(float(late.mean()))}) stand after a later one, up to "
        f"{behind.max() / DAY_MS:,.1f} days; first, row {row + 1:,}",
        "nothing to do for a file, which is sorted when it is read; in a stream, events a day "
        "older than their account's last are marked late",
    )


def _future(source: Source) -> Finding:
    ahead = [each for each in source.rejects if each.reason is Reason.IN_THE_FUTURE]
    if not ahead:
        return Finding("future", Severity.OK, "no event lies in the future")
    return Finding(
        "future",
        Severity.PROBLEM,
        f"{len(ahead):,} rows lie in the future; first, row {ahead[0].row + 1:,}",
        "check the time's format and zone in schema.toml; a time without a zone is read as UTC",
    )


def _unit(times: NDArray[np.int64]) -> Finding:
    old = float((times < _1990_MS).mean())
    if old < 0.5:
        return Finding("time_unit", Severity.OK, f"the times lie from {day(times[0])} on")
    return Finding(
        "time_unit",
        Severity.PROBLEM,
        f"{percent(old)} of the events lie before 1990",
        "seconds may be read as milliseconds: set format = 'epoch_s' of the time in schema.toml",
    )


def _gap_findings(gaps: list[tuple[int, int]]) -> list[Finding]:
    if not gaps:
        return [
            Finding("gaps", Severity.OK, "no day lacks the events that its weekday usually has")
        ]
    days = sum((end - start) // DAY_MS + 1 for start, end in gaps)
    start, end = max(gaps, key=lambda gap: gap[1] - gap[0])
    return [
        Finding(
            "gaps",
            Severity.WARNING,
            f"{days:,} days have hardly any of the events that their weekday usually has; the "
            f"longest gap is {day(start)} to {day(end)}",
            "load what is missing: windows that reach into a gap see less than the stream will",
        )
    ]


def _gaps(times: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the first and last day of each gap, in ms since 1970.

    The first and the last day of the file, which may be cut, are in none.
    """
    days = times // DAY_MS
    counts = np.bincount(days - days[0])
    weekday = (days[0] + np.arange(len(counts))) % 7
    medians = [np.median(counts[weekday == each]) if each in weekday else 0 for each in range(7)]
    usual = np.array(medians)[weekday]
    thin = (usual >= _LEAST_A_DAY) & (counts < _THIN * usual)
    thin[[0, -1]] = False
    edges = np.flatnonzero(np.diff(np.concatenate(([0], thin.astype(np.int8), [0]))))
    return [
        (int(days[0] + start) * DAY_MS, int(days[0] + stop - 1) * DAY_MS)
        for start, stop in edges.reshape(-1, 2).tolist()
    ]
