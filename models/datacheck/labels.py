"""Labels: how many are known, how often they say fraud, and whether the periods can train."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import HistoryError
from models.config import TrainConfig
from models.datacheck.findings import Finding, Part, Severity, day, percent
from models.datacheck.source import Source
from models.datacheck.spans import Spans
from models.periods import DAY_MS, Bounds, split
from models.report import Table

_WEEK_MS = 7 * DAY_MS

_LEAST_FRAUDS = 100
_LEAST_KNOWN = 0.05
_HIGH_RATE = 0.2
#: A week's rate is far off when it lies so many standard errors, and so many times, away.
_ERRORS, _TIMES = 4.0, 2.5
#: The last weeks are fewer to look at, and matter more.
_ERRORS_LATE = 3.0


@dataclass(frozen=True, slots=True)
class Weeks:
    """Weeks from the first event on.

    Args:
        start_ms: when each begins; int64 ``[w]``.
        events, known, frauds: how many in each; int64 ``[w]``.
    """

    start_ms: NDArray[np.int64]
    events: NDArray[np.int64]
    known: NDArray[np.int64]
    frauds: NDArray[np.int64]

    @classmethod
    def of(cls, times: NDArray[np.int64], labels: NDArray[np.float32]) -> Weeks:
        """Count the events, ``times`` int64 ``[m]`` ascending, by week."""
        week = (times - times[0]) // _WEEK_MS
        count = int(week[-1]) + 1
        known = ~np.isnan(labels)
        return cls(
            times[0] + np.arange(count) * _WEEK_MS,
            np.bincount(week, minlength=count),
            np.bincount(week[known], minlength=count),
            np.bincount(week[labels > 0.5], minlength=count),
        )

    @property
    def rate(self) -> NDArray[np.float64]:
        """The share of fraud among the known; float64 ``[w]``, NaN where none is known."""
        known = np.where(self.known > 0, self.known, np.nan)
        return np.asarray(self.frauds / known, dtype=np.float64)

    def table(self) -> Table:
        """Return it for people."""
        rates = [None if np.isnan(each) else float(each) for each in self.rate]
        columns = [each.tolist() for each in (self.start_ms, self.events, self.known, self.frauds)]
        return Table(
            (
                ("week from", "date"),
                ("events", "count"),
                ("labels known", "count"),
                ("frauds", "count"),
                ("fraud rate", "share"),
            ),
            list(zip(*columns, rates, strict=True)),
        )


def check_labels(source: Source, config: TrainConfig, spans: Spans) -> Part:
    """Check the labels, their rate over time, and the periods of a training."""
    if source.file_labels is None:
        path = source.schema.label.path if source.schema.label else None
        found = f"the file has no labels: {path!r} is missing or empty everywhere"
        advice = "map the column with --field; without labels a file can be scored, not trained on"
        return Part("Labels", [Finding("labels", Severity.PROBLEM, found, advice)])
    weeks = Weeks.of(source.times, source.labels)
    findings = [
        _known(source.labels),
        _rate(source.labels),
        _immature(weeks),
        _changes(weeks),
        _trainable(source, config, spans),
    ]
    tables = {"weeks": weeks.table(), "periods": _periods(source, config, spans)}
    return Part("Labels", findings, tables)


def _known(labels: NDArray[np.float32]) -> Finding:
    share = float((~np.isnan(labels)).mean())
    found = f"{percent(share)} of the events have a label"
    if share >= _LEAST_KNOWN:
        return Finding("labels_known", Severity.OK, found)
    advice = (
        "unlabelled events build up states and train nothing; give more labels if there are any"
    )
    return Finding("labels_known", Severity.WARNING, found, advice)


def _rate(labels: NDArray[np.float32]) -> Finding:
    known = int((~np.isnan(labels)).sum())
    frauds = int((labels > 0.5).sum())
    rate = frauds / max(known, 1)
    found = f"{frauds:,} of {known:,} labelled events are frauds ({percent(rate)})"
    if frauds < _LEAST_FRAUDS:
        advice = "so few frauds make figures that are mostly chance; give a longer history"
        return Finding("label_rate", Severity.WARNING, found, advice)
    if rate > _HIGH_RATE:
        advice = (
            "check that fraud is not swapped with genuine, and that genuine events were not left "
            "out: scores would be too high for the whole stream"
        )
        return Finding("label_rate", Severity.WARNING, found, advice)
    return Finding("label_rate", Severity.OK, found)


def _immature(weeks: Weeks) -> Finding:
    """Frauds of the last weeks that are not known yet look genuine."""
    frauds, known = weeks.frauds.sum(), weeks.known.sum()
    short = 0
    for back in range(1, len(weeks.rate) // 2 + 1):
        rest = (frauds - weeks.frauds[-back:].sum()) / max(known - weeks.known[-back:].sum(), 1)
        expected = rest * weeks.known[-back]
        low = weeks.frauds[-back] < expected - _ERRORS_LATE * np.sqrt(expected)
        if not (low and weeks.frauds[-back] * _TIMES < expected):
            break
        short = back
    if not short:
        return Finding("late_labels", Severity.OK, "the last weeks have as many frauds as others")
    start = day(weeks.start_ms[-short])
    return Finding(
        "late_labels",
        Severity.PROBLEM,
        f"from {start} on frauds are far rarer than before: their labels may not be known yet",
        f"end the training with --until {start}, or leave the labels of those events empty until "
        "they are known",
    )


def _changes(weeks: Weeks) -> Finding:
    rate = weeks.frauds.sum() / max(int(weeks.known.sum()), 1)
    expected = rate * weeks.known
    far = np.abs(weeks.frauds - expected) > _ERRORS * np.sqrt(expected)
    ratio = (weeks.frauds + 1) / (expected + 1)
    far &= (ratio > _TIMES) | (ratio < 1 / _TIMES)
    if not far.any():
        return Finding("rate_over_time", Severity.OK, "the rate of fraud is alike in all weeks")
    at = int(np.argmax(np.where(far, np.abs(np.log(ratio)), -1)))
    weekly = percent(float(weeks.rate[at])) if weeks.known[at] else "–"
    return Finding(
        "rate_over_time",
        Severity.WARNING,
        f"in {int(far.sum()):,} of {len(far):,} weeks the rate of fraud is far from the usual "
        f"{percent(float(rate))}, most in that of {day(weeks.start_ms[at])}: {weekly}",
        "check how labels came about then; begin the history after a change of that with --from",
    )


def _trainable(source: Source, config: TrainConfig, spans: Spans) -> Finding:
    own = source.times < spans.until
    try:
        accounts = source.events.take(own).accounts
        periods = split(source.times[own], source.labels[own], config, accounts)
    except HistoryError as error:
        found, _, advice = str(error).partition("; ")
        return Finding("periods", Severity.PROBLEM, found, advice)
    frauds = int((source.labels[own][periods.validation] > 0.5).sum())
    found = f"the periods of a training have frauds and genuine events, the validation {frauds:,}"
    if frauds < _LEAST_FRAUDS // 2:
        advice = (
            "few frauds choose the best epoch and the thresholds; lengthen validation_days in "
            "training.toml"
        )
        return Finding("periods", Severity.WARNING, f"{found} frauds only", advice)
    return Finding("periods", Severity.OK, f"{found} frauds")


def _periods(source: Source, config: TrainConfig, spans: Spans) -> Table:
    times = source.times
    own = times[times < spans.until]
    bounds = Bounds.of(int(own[0]), int(own[-1]), config) if len(own) else None
    found = []
    if bounds is not None:
        found = [
            ("warm-up", int(own[0]), bounds.train_from),
            ("training", bounds.train_from, bounds.train_until),
            ("gap of the labels' delay", bounds.train_until, bounds.validate_from),
            ("validation", bounds.validate_from, bounds.end),
        ]
    if not spans.is_validation:
        found.append(("test", spans.test_from, int(times[-1]) + 1))
    rows = []
    for name, start, end in found:
        labels = source.labels[(times >= start) & (times < end)]
        known = int((~np.isnan(labels)).sum())
        rows.append((name, start, end, len(labels), known, int((labels > 0.5).sum())))
    columns = (
        "period",
        ("from", "time"),
        ("to", "time"),
        ("events", "count"),
        ("labels known", "count"),
        ("frauds", "count"),
    )
    return Table(columns, rows)
