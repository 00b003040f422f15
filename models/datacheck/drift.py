"""Drift: how far the columns' values differ between the training's period and the test's."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.datacheck.findings import Finding, Part, Severity, day
from models.datacheck.source import Source
from models.datacheck.spans import Spans
from models.datacheck.table import is_number, numbers
from models.report import Table

_BINS = 10
#: The usual reading: from 0.1 on the shift is moderate, from 0.25 on it is large.
_MODERATE, _LARGE = 0.1, 0.25
_LEAST = 200
#: A share of no rows counts as this, so that the logarithm is finite.
_FLOOR = 1e-4
_COMPARED = ("amount", "feature", "")


def check_drift(source: Source, spans: Spans) -> Part:
    """Check the amount, the features and the columns that the schema does not name."""
    times = source.file_time_ms
    training, test = spans.training(times), spans.test(times)
    name = spans.test_name
    if min(int(training.sum()), int(test.sum())) < _LEAST:
        found = f"not looked for: the training or the {name} period has less than {_LEAST} events"
        return Part("Drift", [Finding("drift", Severity.OK, found)])
    rows: list[tuple[str, str, float]] = []
    findings = []
    for column in source.table.column_names:
        bins = _bins(source, column, training) if source.role(column) in _COMPARED else None
        if bins is None:
            continue
        index = stability_index(bins[training], bins[test])
        rows.append((column, source.role(column), index))
        if index > max(_MODERATE, 3 * _by_chance(bins, training, test)):
            findings.append(_finding(column, index, name))
    rows.sort(key=lambda row: -row[2])
    caption = (
        f"Training up to {day(min(spans.until, spans.test_from))}, {name} from "
        f"{day(spans.test_from)}. PSI: the population stability index over ten bins."
    )
    table = Table(("column", "role", ("PSI", "number")), rows, caption)
    if not findings:
        found = f"the columns' values are alike in the training and the {name} period"
        findings = [Finding("drift", Severity.OK, found)]
    return Part("Drift", findings, {"drift": table})


def stability_index(expected: NDArray[np.int64], found: NDArray[np.int64]) -> float:
    """Return the population stability index of two samples of bins.

    The sum over bins of ``(f - e) ln(f / e)`` for the shares ``e`` and ``f`` (the symmetrised
    Kullback-Leibler divergence; Siddiqi, Credit Risk Scorecards, 2006, chapter 9).

    Args:
        expected, found: the number of each row's bin, from 0; int64.
    """
    size = int(max(expected.max(), found.max())) + 1
    shares = [
        np.maximum(np.bincount(each, minlength=size) / len(each), _FLOOR)
        for each in (expected, found)
    ]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def _by_chance(
    bins: NDArray[np.int64], training: NDArray[np.bool_], test: NDArray[np.bool_]
) -> float:
    """Return the index that two samples of one population have on average."""
    return int(bins.max()) * (1 / int(training.sum()) + 1 / int(test.sum()))


def _bins(source: Source, name: str, training: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """Return each row's bin, int64 ``[n]``, 0 for a missing value; None for what has no bins."""
    column, codes = source.table.column(name), source.codes(name)
    if is_number(column) and not pa.types.is_temporal(column.type):
        values = numbers(column)
        known = np.isfinite(values)
        if not (known & training).any():
            return None
        inner = np.linspace(0, 1, _BINS + 1)[1:-1]
        edges = np.unique(np.quantile(values[known & training], inner))
        return np.where(known, 1 + np.searchsorted(edges, values, side="left"), 0)
    counts = np.bincount(codes[training] + 1, minlength=int(codes.max(initial=-1)) + 2)[1:]
    if len(counts) > _LEAST:
        return None  # identifiers and free text
    bins = np.full(len(counts) + 1, _BINS + 1)
    bins[0] = 0
    bins[1 + np.argsort(-counts, kind="stable")[:_BINS]] = 1 + np.arange(min(_BINS, len(counts)))
    return bins[codes + 1]


def _finding(column: str, index: float, name: str) -> Finding:
    size = "far" if index >= _LARGE else "somewhat"
    return Finding(
        "drift",
        Severity.WARNING,
        f"{column} is {size} different in the {name} period (PSI {index:.2f})",
        "find out what changed; train on a later history, or leave the column out of the schema",
    )
