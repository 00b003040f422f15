"""Rows: which cannot be read, and which are there twice."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from engine.columns import Reason, Reject
from models.datacheck.findings import Finding, Part, Severity, percent
from models.datacheck.source import Source
from models.report import Table

#: From this share of the rows on, a fault is a problem and no longer a warning.
_MANY = 0.01

#: Of SplitMix64 (Steele et al., Fast Splittable Pseudorandom Number Generators, 2014).
_STEP, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


def check_rows(source: Source) -> Part:
    """Check for rows that are refused, by reason, and for duplicates."""
    refused = _refused(source)
    rows = [
        (str(first.reason), count, count / len(source), first.row + 1, first.detail)
        for first, count in refused
    ]
    columns = (
        ("reason", "code"),
        ("rows", "count"),
        ("share", "share"),
        ("first row", "count"),
        "what is wrong there",
    )
    tables = {"rejected": Table(columns, rows)} if rows else {}
    findings = _rejected(source, refused)
    if len(source.events):
        findings += [*_repeated_ids(source), *_identical(source)]
    return Part("Rows", findings, tables)


def _refused(source: Source) -> list[tuple[Reject, int]]:
    """Return the first row of each reason, and how many there are; the most frequent first."""
    first: dict[Reason, Reject] = {}
    for each in source.rejects:
        first.setdefault(each.reason, each)
    counts = Counter(each.reason for each in source.rejects)
    return [(first[reason], count) for reason, count in counts.most_common()]


def _rejected(source: Source, refused: list[tuple[Reject, int]]) -> list[Finding]:
    if not refused:
        return [Finding("rejected", Severity.OK, f"all {len(source):,} rows can be read")]
    found = []
    for first, count in refused:
        share = count / len(source)
        found.append(
            Finding(
                "rejected",
                Severity.PROBLEM if share >= _MANY else Severity.WARNING,
                f"{count:,} rows ({percent(share)}) are refused as {first.reason}; first, row "
                f"{first.row + 1:,}: {first.detail}",
                "correct these rows, or map another column with --field; they train nothing, and "
                "a stream sends them to its dead letters",
            )
        )
    return found


def _repeated_ids(source: Source) -> list[Finding]:
    ids, counts = np.unique(source.events.values[source.schema.event_id.name], return_counts=True)
    repeats = int(counts.sum() - len(ids))
    if not repeats:
        return [Finding("duplicate_ids", Severity.OK, "every event has an id of its own")]
    share = repeats / len(source.events)
    twice = source.events.values[source.schema.event_id.name] == ids[np.argmax(counts > 1)]
    example = source.events.event_ids[int(np.argmax(twice))]
    return [
        Finding(
            "duplicate_ids",
            Severity.PROBLEM if share >= _MANY else Severity.WARNING,
            f"{repeats:,} events ({percent(share)}) have an id that was there before, such as "
            f"{example!r}",
            "check that the id is that of one event, not of an order; a repeated event of an "
            "account is answered with its first score and changes nothing",
        )
    ]


def _identical(source: Source) -> list[Finding]:
    """Rows that are equal in every column but the event's id."""
    others = [name for name in source.table.column_names if source.role(name) != "event_id"]
    hashed = np.zeros(len(source), dtype=np.uint64)
    for name in others:
        hashed = _mixed(hashed, source.codes(name).astype(np.uint64))
    _, first, counts = np.unique(hashed, return_index=True, return_counts=True)
    extra = int(counts.sum() - len(counts))
    if not extra:
        return [Finding("identical_rows", Severity.OK, "no two rows are equal but for their id")]
    row = int(first[counts > 1].min())
    share = extra / len(source)
    return [
        Finding(
            "identical_rows",
            Severity.WARNING,
            f"{extra:,} rows ({percent(share)}) equal an earlier one in every column but the id, "
            f"such as row {row + 1:,}",
            "if they were loaded twice, drop them: they count twice in windows and in figures",
        )
    ]


def _mixed(hashed: NDArray[np.uint64], codes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        mixed = (hashed + codes + np.uint64(1)) * _STEP
        return (mixed ^ (mixed >> np.uint64(31))) * _MIX
