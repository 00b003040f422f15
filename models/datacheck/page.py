"""What a check found, as one page. Needs Jinja and Matplotlib, of the extra ``train``."""

from __future__ import annotations

from matplotlib.axes import Axes

from models.datacheck.check import Report
from models.datacheck.findings import Finding, Severity
from models.report import Figure, Page, Table
from models.report.figures import SERIES, draw
from models.report.values import Kind, shown

_SHOWN_FIRST = (Severity.PROBLEM, Severity.WARNING)


def page(report: Report) -> Page:
    """Return the page of a report."""
    counts = {severity: report.count(severity) for severity in Severity}
    page = Page(
        "Data check",
        report.name,
        {
            "rows": f"{report.rows:,}",
            "events that can be read": f"{report.events:,}",
        },
    )
    matters = _matter(report.findings)
    matters.sort(key=lambda each: -each.severity.rank)
    page.section(
        "Findings",
        text="" if matters else "Nothing was found that would hurt.",
        tiles=[
            ("problems", f"{counts[Severity.PROBLEM]:,}"),
            ("warnings", f"{counts[Severity.WARNING]:,}"),
            ("checks without a finding", f"{counts[Severity.OK]:,}"),
        ],
        table=[_table(matters)] if matters else [],
    )
    for part in report.parts:
        fine = [each.found for each in part.findings if each.severity is Severity.OK]
        figures = [_rates(part.tables["weeks"])] if "weeks" in part.tables else []
        page.section(
            part.title,
            points=[f"{found[:1].upper()}{found[1:]}." for found in fine],
            table=[
                *([_table(found)] if (found := _matter(part.findings)) else []),
                *part.tables.values(),
            ],
            figure=figures,
        )
    return page


def _matter(findings: list[Finding]) -> list[Finding]:
    return [each for each in findings if each.severity in _SHOWN_FIRST]


def _table(findings: list[Finding]) -> Table:
    rows = [(str(each.severity), each.found, each.advice) for each in findings]
    return Table(("severity", "found", "what to do"), rows)


def _rates(weeks: Table) -> Figure:
    starts = [float(row[0] or 0) for row in weeks.rows]
    rates = [float("nan") if row[4] is None else 100 * float(row[4]) for row in weeks.rows]
    known = [100 * float(row[2] or 0) / max(float(row[1] or 0), 1.0) for row in weeks.rows]

    def plot(axes: Axes) -> None:
        places = range(len(starts))
        axes.plot(places, rates, color=SERIES[0], marker="o", markersize=3)
        axes.set_ylabel("frauds among known labels, %")
        axes.set_ylim(bottom=0)
        step = max(len(starts) // 6, 1)
        axes.set_xticks(list(places)[::step], [shown(each, Kind.DATE) for each in starts[::step]])

    least = min(known)
    return Figure(
        draw(plot, width=7.0, height=3.0),
        alt="The rate of fraud by week.",
        caption=f"The rate of fraud by week. Labels are known of {least:.1f} % of a week's events "
        "or more.",
    )
