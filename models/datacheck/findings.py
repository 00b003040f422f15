"""What a check says: findings, and tables behind them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from models.report import Kind, Table, shown


class Severity(StrEnum):
    """How much a finding matters, the least first."""

    OK = "ok"
    WARNING = "warning"  # look at it; training and scoring work
    PROBLEM = "problem"  # training fails, or its figures would mislead

    @property
    def rank(self) -> int:
        """Its place, from 0."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Args:
        check: which check found it, such as ``duplicates``.
        severity: how much it matters.
        found: a sentence.
        advice: what to do; empty where there is nothing to do.
    """

    check: str
    severity: Severity
    found: str
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return it for JSON."""
        return {
            "check": self.check,
            "severity": str(self.severity),
            "found": self.found,
            "advice": self.advice,
        }


@dataclass(frozen=True, slots=True)
class Part:
    """What some checks that belong together found.

    Args:
        title: its heading.
        findings: see :class:`Finding`; at least one.
        tables: the figures behind them, by name.
    """

    title: str
    findings: list[Finding]
    tables: dict[str, Table] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return its tables for JSON: each a list of rows, by their columns' titles."""
        return {
            name: [
                {column.title: value for column, value in zip(table.columns, row, strict=True)}
                for row in table.rows
            ]
            for name, table in self.tables.items()
        }


def percent(share: float) -> str:
    """Return a share of 1 as a percentage.

    >>> percent(0.0123)
    '1.23 %'
    """
    return shown(share, Kind.SHARE)


def day(ms: float) -> str:
    """Return a time in ms since 1970 as its day, UTC."""
    return shown(ms, Kind.DATE)
