"""Accounts and entities: how many, how active, how much on one, and how many are new."""

from __future__ import annotations

import numpy as np

from engine.schema import Field, Role
from models.datacheck.findings import Finding, Part, Severity, percent
from models.datacheck.source import Source
from models.datacheck.spans import Spans
from models.report import Table

#: One account with such a share of the events, and so many times the mean, is hot.
_HOT, _HOTTER, _TIMES_MEAN = 0.05, 0.2, 3.0
_LEAST_EVENTS = 2.0
_MOSTLY_NEW = 0.5

_COLUMNS = (
    "field",
    ("number", "count"),
    ("events each, mean", "number"),
    ("median", "number"),
    ("most", "count"),
    ("share of the most active", "share"),
    ("seen once", "share"),
    ("new in the test period", "share"),
)


def check_accounts(source: Source, spans: Spans) -> Part:
    """Check the accounts, and each kind of entity."""
    fields = [source.schema.account, *source.schema.entities]
    findings: list[Finding] = []
    rows = []
    for field in fields:
        own, row = _check(source, field, spans)
        findings += own
        rows.append(row)
    caption = (
        "New: the share of the events whose account or entity has none in the training's period; "
        f"the test period is here the {spans.test_name}'s."
    )
    return Part("Accounts and entities", findings, {"accounts": Table(_COLUMNS, rows, caption)})


def _check(
    source: Source, field: Field, spans: Spans
) -> tuple[list[Finding], tuple[str, int, float, float, int, float, float, float | None]]:
    column = source.events.values[field.name]
    values, first, counts = np.unique(column, return_index=True, return_counts=True)
    top = int(np.argmax(counts))
    events, mean, share = len(column), float(counts.mean()), float(counts[top] / len(column))
    new = _new(source, field, spans)
    row = (
        *(field.name, len(values), mean, float(np.median(counts)), int(counts[top]), share),
        float((counts == 1).sum() / events),
        new,
    )
    name = f"{field.name} ({field.path})"
    findings = []
    if share >= _HOT and share >= _TIMES_MEAN / len(values):
        example = _example(source, field, int(first[top]))
        findings.append(_hot(field, f"{name} {example} has {percent(share)} of all events", share))
    if field is source.schema.account and mean < _LEAST_EVENTS:
        found = f"{name} has {mean:.1f} events on average: nearly every event is its first"
        advice = "check that the column names who pays, not the payment; the model needs histories"
        findings.append(Finding("short_histories", Severity.WARNING, found, advice))
    if new is not None and new >= _MOSTLY_NEW:
        found = f"{percent(new)} of the {spans.test_name} period's events have a new {name}"
        advice = (
            "check that identifiers stay the same over time; figures will be those of newcomers"
        )
        findings.append(Finding("new_accounts", Severity.WARNING, found, advice))
    if not findings:
        found = f"{name}: {len(values):,}, {mean:.1f} events each, the most active {percent(share)}"
        findings = [Finding("accounts", Severity.OK, found)]
    return findings, row


def _hot(field: Field, found: str, share: float) -> Finding:
    advice = "check that it is no placeholder for an unknown one, such as 0 or -1"
    name = "hot_entity"
    if field.role is Role.ACCOUNT:
        name = "hot_account"
        advice += "; an account's events are scored one after the other, on one partition"
    severity = Severity.PROBLEM if share >= _HOTTER else Severity.WARNING
    return Finding(name, severity, found, advice)


def _example(source: Source, field: Field, at: int) -> str:
    if field is source.schema.account:
        return repr(source.events.accounts[at])
    row = int(source.file_rows[at])
    return repr(str(source.table.column(field.path)[row].as_py()))


def _new(source: Source, field: Field, spans: Spans) -> float | None:
    """Return the share of the test's events that have none before; None without a test."""
    column = source.events.values[field.name]
    training, test = spans.training(source.times), spans.test(source.times)
    if not training.any() or not test.any():
        return None
    return float((~np.isin(column[test], np.unique(column[training]))).mean())
