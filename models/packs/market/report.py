"""The market pack's report: how the forecast quantiles fit the returns that came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import HistoryError
from models.features.base import DAY_MS
from models.packs.market.features import MOST_DAYS
from models.packs.market.figures import Rises, SecurityFigures, Summary
from models.packs.market.plots import quantile_figure
from models.packs.reports import Report, ScoredHistory
from models.report import Column, Kind, Page, Table, shown

_QUANTILES = ("q01", "q05", "q50", "q95", "q99")
#: The year that is drawn where it was forecast: that of the largest losses in the test.
_DRAWN_YEAR = 2020
_DRAWN = 3


@dataclass(frozen=True, slots=True)
class Forecasts:
    """What was forecast of one security, and the returns that came.

    Args:
        security: its name.
        time_ms: of the returns, in ms since 1970, int64 ``[n]``.
        returns: logarithmic, float64 ``[n]``.
        quantiles: at the five levels, float64 ``[n, 5]``.
        rise: the probability of a rise, float64 ``[n]``.
    """

    security: str
    time_ms: NDArray[np.int64]
    returns: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    rise: NDArray[np.float64]


def forecasts(scored: ScoredHistory) -> list[Forecasts]:
    """Return each security's forecasts of the bars that are judged, in the order of names.

    A late bar, and one more than 30 days after the one before it, have no return of a day.
    """
    names, time_ms = np.array(scored.columns.accounts), scored.columns.event_time_ms
    found = []
    for security in np.unique(names).tolist():
        rows = np.flatnonzero((names == security) & ~scored.late)
        said, came = rows[:-1], rows[1:]
        kept = scored.judged[came] & (time_ms[came] - time_ms[said] <= MOST_DAYS * DAY_MS)
        said, came = said[kept], came[kept]
        if not len(came):
            continue
        quantiles = np.stack([scored.outputs[name][said] for name in _QUANTILES], axis=1)
        found.append(
            Forecasts(
                security,
                time_ms[came],
                scored.outputs["realised"][came].astype(np.float64),
                quantiles.astype(np.float64),
                scored.outputs["probability_up"][said].astype(np.float64),
            )
        )
    return found


def report(scored: ScoredHistory) -> Report:
    """Judge the forecasts of the bars from ``--from`` on.

    Raises:
        HistoryError: no security has two bars.
    """
    found = forecasts(scored)
    if not found:
        raise HistoryError(
            "a market report must have securities with a bar after another, however: there is "
            "none in the period that is judged"
        )
    securities = [SecurityFigures.of(each.security, each.quantiles, each.returns) for each in found]
    summary = Summary.of(securities)
    returns = np.concatenate([each.returns for each in found])
    rises = Rises.of(np.concatenate([each.rise for each in found]), returns)
    page = Page(
        f"Market report: {scored.manifest.name}, version {scored.manifest.version}",
        f"{len(returns):,} returns of {len(found)} securities, {scored.data}.",
    )
    _quantiles(page, summary)
    _coverage(page, securities, summary)
    _rises(page, rises)
    page.section("Quantiles and returns", text="A day's return, and what was forecast of it.")
    figures = {
        **summary.to_dict(),
        "rises": rises.to_dict(),
        "by_security": [each.to_dict() for each in securities],
        "decisions": _decided(scored),
    }
    drawings = {"Quantiles and returns": lambda: [quantile_figure(*each) for each in _drawn(found)]}
    return Report(page, figures, drawings)


def comparison(models: Mapping[str, Summary]) -> Table:
    """Return a table of several models' means."""
    columns: list[Column | str | tuple[str, str]] = ["model"]
    columns += [("loss at 1 %", "number"), ("loss at 5 %", "number")]
    columns += [
        Column(f"loss at {name}", Kind.NUMBER, is_detail=True) for name in ("50 %", "95 %", "99 %")
    ]
    columns += [Column("below 1 %", Kind.SHARE, is_detail=True), ("below 5 %", "share")]
    columns += [Column("Kupiec 1 % held", Kind.COUNT, is_detail=True), ("Kupiec 5 % held", "count")]
    columns += [("Christoffersen 5 % held", "count")]
    rows: list[Sequence[Any]] = [
        (
            name,
            *each.pinball,
            *each.below[:2],
            each.held["kupiec_01"],
            each.held["kupiec_05"],
            each.held["christoffersen_05"],
        )
        for name, each in models.items()
    ]
    return Table(columns, rows, "Losses are mean pinball losses, in percent of the price.")


def _quantiles(page: Page, summary: Summary) -> None:
    columns: list[Column | str | tuple[str, str]] = [
        "quantile",
        ("mean pinball loss", "number"),
        ("returns below", "share"),
    ]
    names = ("1 %", "5 %", "50 %", "95 %", "99 %")
    rows = list(zip(names, summary.pinball, summary.below, strict=True))
    text = "Means over the securities; losses in percent of the price."
    page.section("Quantiles", text=text, table=Table(columns, rows))


def _coverage(page: Page, securities: Sequence[SecurityFigures], summary: Summary) -> None:
    columns: list[Column | str | tuple[str, str]] = [
        "security",
        Column("days", Kind.COUNT, is_detail=True),
        ("loss at 1 %", "number"),
        ("loss at 5 %", "number"),
        ("below 1 %", "share"),
        ("below 5 %", "share"),
        ("Kupiec 1 %", "score"),
        ("Kupiec 5 %", "score"),
        Column("Christoffersen 1 %", Kind.SCORE, is_detail=True),
        Column("Christoffersen 5 %", Kind.SCORE, is_detail=True),
    ]
    rows: list[Sequence[Any]] = [
        (
            each.security,
            each.days,
            *each.pinball[:2],
            *each.below[:2],
            each.kupiec_01,
            each.kupiec_05,
            each.christoffersen_01,
            each.christoffersen_05,
        )
        for each in securities
    ]
    names = ("Kupiec at 1 %", "Kupiec at 5 %", "Christoffersen at 1 %", "Christoffersen at 5 %")
    held = [
        f"{name}: not rejected (p > 0.05) for {count} of {summary.securities} securities"
        for name, count in zip(names, summary.held.values(), strict=True)
    ]
    page.section(
        "Coverage by security",
        text="The columns of tests are p-values: below 0.05 the coverage is rejected.",
        points=held,
        table=Table(columns, rows),
    )


def _rises(page: Page, rises: Rises) -> None:
    page.section(
        "Probability of a rise",
        text=(
            f"{shown(rises.rate, 'share')} of the returns are rises; the mean probability is "
            f"{shown(rises.mean, 'share')}. The likelier side came on "
            f"{shown(rises.accuracy, 'share')} of the days, the commoner side on "
            f"{shown(rises.usual_accuracy, 'share')}."
        ),
        tiles=[
            ("Brier score", shown(rises.brier, Kind.SCORE)),
            ("of the usual rate", shown(rises.usual_brier, Kind.SCORE)),
        ],
    )


def _decided(scored: ScoredHistory) -> dict[str, int]:
    counts = np.bincount(
        scored.decisions[scored.judged], minlength=len(scored.manifest.decisions)
    ).tolist()
    return dict(zip(scored.manifest.decisions, counts, strict=True))


def _drawn(
    found: Sequence[Forecasts],
) -> list[tuple[str, NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]]:
    """Return a year of the securities with the largest losses in it."""
    last = max(int(each.time_ms[-1]) for each in found)
    year = min(_DRAWN_YEAR, datetime.fromtimestamp(last / 1000, UTC).year)
    start, end = (datetime(each, 1, 1, tzinfo=UTC).timestamp() * 1000 for each in (year, year + 1))
    cut = []
    for each in found:
        own = (each.time_ms >= start) & (each.time_ms < end)
        if own.any():
            cut.append((each.security, each.time_ms[own], each.returns[own], each.quantiles[own]))
    return sorted(cut, key=lambda each: float(each[2].min()))[:_DRAWN]
