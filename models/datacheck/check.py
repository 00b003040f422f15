"""All checks of a file, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import HistoryError
from engine.history import History
from models.config import TrainConfig
from models.datacheck.accounts import check_accounts
from models.datacheck.columns import check_columns
from models.datacheck.drift import check_drift
from models.datacheck.findings import Finding, Part, Severity
from models.datacheck.labels import check_labels
from models.datacheck.rows import check_rows
from models.datacheck.source import Source
from models.datacheck.spans import Spans
from models.datacheck.times import check_times


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found.

    Args:
        name: the file's.
        rows, events: how many rows it has, and how many of these are events that can be read.
        parts: the checks, in the order of a page.
    """

    name: str
    rows: int
    events: int
    parts: list[Part]

    @property
    def findings(self) -> list[Finding]:
        """All findings, in the order of the parts."""
        return [finding for part in self.parts for finding in part.findings]

    def count(self, severity: Severity) -> int:
        """Return how many findings matter so much."""
        return sum(finding.severity is severity for finding in self.findings)

    @property
    def worst(self) -> Severity:
        """The most that a finding matters."""
        return max((finding.severity for finding in self.findings), key=lambda each: each.rank)

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "file": self.name,
            "rows": self.rows,
            "events": self.events,
            "worst": str(self.worst),
            "findings": [finding.to_dict() for finding in self.findings],
            "tables": {name: rows for part in self.parts for name, rows in part.to_dict().items()},
        }


def check(
    path: Path,
    history: History,
    config: TrainConfig,
    now_ms: int,
    until_ms: int | None = None,
    from_ms: int | None = None,
) -> Report:
    """Check a file.

    Args:
        path: the file.
        history: the same file, opened whole.
        config: how it is to be trained on: the periods.
        now_ms: the present time, in ms since 1970.
        until_ms: where the training's history is to end; None for the file's end.
        from_ms: where the test's period is to begin; None for where the training's ends.

    Raises:
        HistoryError: the file has no rows.
    """
    source = Source.read(path, history, now_ms)
    rows = check_rows(source)
    if not len(source.events):
        return Report(path.name, len(source), 0, [rows])
    spans = Spans.of(source.times, config, until_ms, from_ms)
    _check_spans(source, spans)
    parts = [
        rows,
        check_times(source),
        check_labels(source, config, spans),
        check_columns(source),
        check_drift(source, spans),
        check_accounts(source, spans),
    ]
    return Report(path.name, len(source), len(source.events), parts)


def _check_spans(source: Source, spans: Spans) -> None:
    """Raise :class:`HistoryError` where the training's period, or the test's, has no events."""
    for name, inside in (
        ("training's", spans.training(source.times)),
        ("test's", spans.test(source.times)),
    ):
        if not np.any(inside) and not spans.is_validation:
            raise HistoryError(
                f"the {name} period must have events, however: {source.path.name} has none there; "
                "change --until and --from"
            )
