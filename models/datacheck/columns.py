"""Columns: missing values, constants, and what alone would tell the label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.datacheck.findings import Finding, Part, Severity, percent
from models.datacheck.source import Source
from models.datacheck.table import is_number, numbers
from models.report import Table

#: Rows that are looked at for leaks: all frauds, and a sample of the rest.
_SAMPLE = 200_000
#: Fewer frauds, or genuine events, tell nothing of a column.
_LEAST = 20
_PERFECT, _STRONG = 0.99, 0.95
#: A value that so many of the frauds have, and hardly any genuine event, is a leak too.
_TELLING_SHARE, _TELLING_PRECISION = 0.2, 0.99
_MOSTLY_MISSING = 0.5


@dataclass(frozen=True, slots=True)
class Profile:
    """What was found of a column.

    Args:
        name, role: its name in the file, and its role in the schema; empty if it has none.
        type: as it is in the file.
        missing: the share of rows without a value.
        distinct: how many different values it has.
        auc: how well it alone ranks frauds above genuine events (area under the ROC curve, 0.5 to
            1): the best of its order, its values' rates of fraud, and whether it is there. None
            where there are too few labels.
        telling: a value that a good part of the frauds have and hardly any genuine event, and
            that part; None if there is none.
    """

    name: str
    role: str
    type: str
    missing: float
    distinct: int
    auc: float | None
    telling: tuple[str, float] | None


def check_columns(source: Source) -> Part:
    """Check every column of the file, those that the schema does not name too."""
    sample = _sample(source)
    profiles = [_profile(source, name, sample) for name in source.table.column_names]
    rows = [
        (each.name, each.role, each.type, each.missing, each.distinct, each.auc)
        for each in profiles
    ]
    table = Table(
        (
            "column",
            "role",
            ("type", "code"),
            ("missing", "share"),
            ("values", "count"),
            ("alone tells the label (AUC)", "score"),
        ),
        rows,
        "The AUC is that of the column's order, of its values' rates of fraud (found on one half "
        "of the rows, judged on the other) or of whether it is there, whichever is best.",
    )
    findings = [*_missing(profiles), *_constant(profiles), *_leaks(profiles)]
    return Part("Columns", findings, {"columns": table})


def area_under_curve(values: NDArray[np.floating], fraud: NDArray[np.bool_]) -> float:
    """Return how often a fraud has the larger value of a fraud and a genuine event.

    The area under the ROC curve as the Mann-Whitney statistic; ties count half.

    Args:
        values: ``[k]``, without NaN.
        fraud: bool ``[k]``, some of both.

    >>> area_under_curve(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True]))
    0.875
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place]
    positives = int(fraud.sum())
    above = float(rank[fraud].sum()) - positives * (positives + 1) / 2
    return above / (positives * (len(fraud) - positives))


def _sample(source: Source) -> NDArray[np.int64]:
    """Return rows of known label, in random order: all frauds, and some genuine events."""
    if source.file_labels is None:
        return np.zeros(0, dtype=np.int64)
    rng = np.random.default_rng(0)
    fraud = np.flatnonzero(source.file_labels > 0.5)
    genuine = np.flatnonzero(source.file_labels < 0.5)
    if min(len(fraud), len(genuine)) < _LEAST:
        return np.zeros(0, dtype=np.int64)
    parts = [rng.permutation(part)[:_SAMPLE] for part in (fraud, genuine)]
    return rng.permutation(np.concatenate(parts))


def _profile(source: Source, name: str, sample: NDArray[np.int64]) -> Profile:
    column = source.table.column(name)
    codes = source.codes(name)
    role = source.role(name)
    auc, telling = None, None
    if len(sample) and role != "label" and source.file_labels is not None:
        fraud = source.file_labels[sample] > 0.5
        auc = _auc(column, codes, sample, fraud)
        telling = _telling(column, codes, sample, fraud)
    return Profile(
        name=name,
        role=role,
        type=str(column.type),
        missing=float((_is_missing(column, codes)).mean()),
        distinct=int(codes.max(initial=-1)) + 1,
        auc=auc,
        telling=telling,
    )


def _is_missing(column: pa.ChunkedArray, codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        empty = pc.equal(pc.utf8_trim_whitespace(column), "").fill_null(True)
        return np.asarray(empty.to_numpy(zero_copy_only=False), dtype=np.bool_)
    return np.asarray(codes < 0, dtype=np.bool_)


def _auc(
    column: pa.ChunkedArray,
    codes: NDArray[np.int64],
    sample: NDArray[np.int64],
    fraud: NDArray[np.bool_],
) -> float:
    """Return the best area under the curve that the column alone gives."""
    own = codes[sample]
    areas = [_by_rates(own, fraud)]
    missing = own < 0
    if missing.any():
        areas.append(area_under_curve(missing.astype(np.float64), fraud))
    if is_number(column):
        values = numbers(column)[sample]
        known = np.isfinite(values)
        if min(fraud[known].sum(), (~fraud[known]).sum()) >= _LEAST:
            areas.append(area_under_curve(values[known], fraud[known]))
    return max(max(each, 1 - each) for each in areas)


def _by_rates(codes: NDArray[np.int64], fraud: NDArray[np.bool_]) -> float:
    """Return the area under the curve of each value's rate of fraud in the other half."""
    half = np.arange(len(codes)) % 2 == 0
    size, prior = int(codes.max(initial=0)) + 2, float(fraud.mean())
    rates = np.empty(len(codes))
    for learnt, judged in ((half, ~half), (~half, half)):
        seen = np.bincount(codes[learnt] + 1, minlength=size)
        frauds = np.bincount(codes[learnt & fraud] + 1, minlength=size)
        rates[judged] = ((frauds + prior) / (seen + 1.0))[codes[judged] + 1]
    areas = [area_under_curve(rates[part], fraud[part]) for part in (half, ~half)]
    return min(areas)


def _telling(
    column: pa.ChunkedArray,
    codes: NDArray[np.int64],
    sample: NDArray[np.int64],
    fraud: NDArray[np.bool_],
) -> tuple[str, float] | None:
    own = codes[sample]
    seen, frauds = np.bincount(own + 1), np.bincount(own[fraud] + 1, minlength=int(own.max()) + 2)
    pure = frauds >= _TELLING_PRECISION * np.maximum(seen, 1)
    share = np.where(pure, frauds, 0) / fraud.sum()
    best = int(np.argmax(share))
    if share[best] < _TELLING_SHARE or frauds[best] < _LEAST:
        return None
    row = int(sample[np.argmax(own == best - 1)])
    value = column[row].as_py()
    return ("nothing" if value is None else repr(value)), float(share[best])


def _missing(profiles: list[Profile]) -> list[Finding]:
    found = [
        Finding(
            "missing",
            Severity.WARNING,
            f"{each.name} ({each.role}) is missing in {percent(each.missing)} of the rows",
            "an optional field then has its default; check that the default is meant",
        )
        for each in profiles
        if each.role not in ("", "label") and each.missing > _MOSTLY_MISSING
    ]
    return found or [
        Finding("missing", Severity.OK, "no column of the schema is missing in most rows")
    ]


def _constant(profiles: list[Profile]) -> list[Finding]:
    constant = [each for each in profiles if each.distinct <= 1 and each.role != "label"]
    found = [
        Finding(
            "constant",
            Severity.WARNING if each.role in ("", "feature") else Severity.PROBLEM,
            f"{each.name}{f' ({each.role})' if each.role else ''} has the same value in all rows",
            "it tells nothing; map another column with --field"
            if each.role
            else "it tells nothing: leave it out of the schema",
        )
        for each in constant
    ]
    return found or [Finding("constant", Severity.OK, "no column is constant")]


def _leaks(profiles: list[Profile]) -> list[Finding]:
    if all(each.auc is None for each in profiles):
        return [Finding("leaks", Severity.OK, "not looked for: there are too few labels")]
    found = [leak for each in profiles if (leak := _leak(each)) is not None]
    return found or [Finding("leaks", Severity.OK, "no column alone tells the label")]


def _leak(profile: Profile) -> Finding | None:
    named = f"{profile.name} ({profile.role})" if profile.role else profile.name
    if profile.auc is not None and profile.auc >= _STRONG:
        how = "almost perfectly" if profile.auc >= _PERFECT else "very well"
        found = f"{named} alone tells the label {how} (AUC {profile.auc:.4f})"
    elif profile.telling is not None:
        value, share = profile.telling
        found = f"{percent(share)} of the frauds have {value} in {named}, hardly any other event"
    else:
        return None
    if not profile.role:
        advice = "keep it out of the schema: it seems to be written after the fraud was known"
        return Finding("leaks", Severity.WARNING, found, advice)
    certain = profile.auc is not None and profile.auc >= _PERFECT
    advice = (
        "check that the value is there, and the same, at the moment of the event; if not, take it "
        "out of the schema"
    )
    return Finding("leaks", Severity.PROBLEM if certain else Severity.WARNING, found, advice)
