"""An evaluation as a page for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.manifest import Manifest, Thresholds
from engine.timing import GraphTime
from models.evaluation.assessment import Assessment
from models.evaluation.tables import (
    actions_table,
    baseline_tables,
    budget_table,
    graph_table,
    interval_text,
    money_table,
    ranking_table,
    reliability_table,
    slice_tables,
)
from models.report import Figure, Kind, Page, shown
from models.thresholds import described

#: Fewer frauds than this say nothing about a part's recall.
_LEAST_FRAUDS = 10


@dataclass(frozen=True, slots=True)
class About:
    """What an evaluation is of.

    Args:
        manifest, digest: of the bundle.
        data: where the events came from.
        made: when and by what the evaluation was made, for people.
        protocol: which events count and what the scores knew, as sentences.
        provider, times: where the graph was timed, and how long it takes.
    """

    manifest: Manifest
    digest: str
    data: str
    made: str
    protocol: Sequence[str] = ()
    provider: str = ""
    times: Sequence[GraphTime] = field(default_factory=tuple)


def evaluation_page(found: Assessment, about: About, figures: Mapping[str, Figure]) -> Page:
    """Return the report.

    Args:
        found: the figures.
        about: what they are of.
        figures: those of :func:`models.evaluation.plots.figures`, or none, for a terminal.
    """
    page = Page(
        f"Evaluation of {about.manifest.name}",
        f"version {about.manifest.version}, on {about.data}",
        facts(found, about),
        footer=about.made,
    )
    page.section("In short", text=_in_short(found), tiles=tiles(found))
    page.section(
        "Thresholds",
        text=rule_of(found.thresholds, about.manifest),
        table=actions_table(found),
    )
    if found.money is not None:
        page.section("Money", text=_costs_text(found), table=money_table(found))
    if found.budgets:
        page.section(
            "Alerts a day",
            text="What other numbers of alerts a day would find, if all of them were reviewed.",
            table=budget_table(found),
            figure=_some(figures, "alerts"),
        )
    page.section(
        "Ranking",
        table=[ranking_table(found), *baseline_tables(found)],
        figure=_some(figures, "precision_recall"),
    )
    page.section(
        "Calibration",
        text=_calibration_text(found),
        table=reliability_table(found),
        figure=_some(figures, "reliability", "distribution"),
    )
    page.section(
        "Where it fails",
        text=_weak_text(found),
        points=weak_points(found),
        table=slice_tables(found),
    )
    if about.times:
        page.section("Cost of the graph", text=_graph_text(about), table=graph_table(about.times))
    return page.section("How this was judged", points=(*about.protocol, *_METHODS))


_METHODS = (
    "An event is alerted from the review threshold on, and declined from the decline threshold on.",
    "Precision is the share of the alerts that are frauds; recall is the share of the frauds that "
    "are alerted.",
    "Average precision is the mean precision over recall. Card precision@100: each day, the share "
    "of the 100 most suspicious cards that have a fraud, without cards found before "
    "(Le Borgne et al., 2022).",
    "Calibration error is the mean distance of score and rate of fraud over 15 groups of events of "
    "equal number by score.",
    "Intervals of shares are Wilson's; those of the area under the ROC and of average precision "
    "are from 200 draws of cards with all of their events.",
)


def facts(found: Assessment, about: About) -> dict[str, str]:
    """Return what stands on top of a report."""
    times = found.judged.event_time_ms
    period = "no events"
    if len(times):
        first, last = int(times.min()), int(times.max())
        period = f"{shown(first, Kind.DATE)} to {shown(last, Kind.DATE)} (UTC)"
    return {
        "Bundle": f"{about.manifest.name}, version {about.manifest.version}",
        "Digest": about.digest[:12],
        "Data": about.data,
        "Period judged": period,
        "Events judged": f"{found.metrics.events:,}",
        "Frauds": _of(found.metrics.positives, found.metrics.events),
    }


def tiles(found: Assessment) -> list[tuple[str, str]]:
    """Return the figures that matter most."""
    alerted, measured = found.actions["alerted"], found.metrics
    every = [
        ("alerts a day", shown(alerted.per_day, Kind.NUMBER)),
        ("of the alerts are frauds", shown(alerted.precision, Kind.SHARE)),
        ("of the frauds are found", shown(alerted.recall, Kind.SHARE)),
        ("area under the ROC", shown(measured.auc_roc, Kind.SCORE)),
        ("average precision", shown(measured.average_precision, Kind.SCORE)),
        ("calibration error", shown(measured.calibration_error, Kind.SCORE)),
    ]
    if found.money is not None and found.money.loss:
        every.insert(
            3, ("of the loss is saved", shown(found.money.saved / found.money.loss, "share"))
        )
    return every


def rule_of(thresholds: Thresholds, manifest: Manifest) -> str:
    """Return what the thresholds are and how they were chosen, as sentences."""
    values = (
        f"Events are reviewed from the score {thresholds.review:.4f} on and declined from "
        f"{thresholds.decline:.4f} on."
    )
    if thresholds != manifest.thresholds:
        return f"{values} That is what the configuration says instead of the bundle."
    rule = manifest.training.get("thresholds")
    return f"{values} {described(rule)}" if isinstance(rule, dict) else values


def weak_points(found: Assessment) -> list[str]:
    """Return the parts whose frauds are found less often than others, beyond chance."""
    overall = found.actions["alerted"].recall
    return [
        f"{each.group} {each.name}: {shown(each.recall, Kind.SHARE)} of {each.frauds:,} frauds are "
        f"found (95 %: {interval_text(each.recall_interval, Kind.SHARE)})."
        for each in found.slices
        if overall is not None
        and each.frauds >= _LEAST_FRAUDS
        and each.recall_interval is not None
        and each.recall_interval.high < overall
    ]


def _in_short(found: Assessment) -> str:
    alerted = found.actions["alerted"]
    if not found.metrics.events:
        return "There is no event to judge."
    if not found.metrics.positives:
        return (
            f"None of the {found.metrics.events:,} events is known to be fraud, so that nothing "
            f"can be said of what is found. {alerted.alerts:,} are alerted."
        )
    return (
        f"With {shown(alerted.per_day, Kind.NUMBER)} alerts a day, {alerted.frauds:,} of "
        f"{found.metrics.positives:,} frauds are found."
    )


def _costs_text(found: Assessment) -> str:
    costs = found.costs
    share = shown(costs.fraud_loss_share, Kind.SHARE)
    return (
        f"A review costs {costs.review_cost:g}, an approved fraud {share} of its amount, a genuine "
        f"event that is declined {costs.decline_cost:g}, all in the unit of the amounts. A "
        "reviewed fraud is taken to be recognized."
    )


def _calibration_text(found: Assessment) -> str:
    error = shown(found.metrics.calibration_error, Kind.SCORE)
    if not found.metrics.events:
        return "There is no event to judge."
    mean = shown(float(found.judged.scores.mean(dtype="float64")), Kind.SHARE)
    rate = shown(found.metrics.positives / found.metrics.events, Kind.SHARE)
    return f"The mean score is {mean}, the rate of fraud {rate}; the calibration error is {error}."


def _weak_text(found: Assessment) -> str:
    if not weak_points(found):
        return (
            "No part of the events has a recall that is lower than that of all, beyond chance, "
            f"among those with at least {_LEAST_FRAUDS} frauds."
        )
    overall = shown(found.actions["alerted"].recall, Kind.SHARE)
    return f"Of all frauds {overall} are found. Of these parts less, beyond chance:"


def _graph_text(about: About) -> str:
    return (
        f"Measured by {about.provider} on the machine that made this report, while it may have had "
        "other work; the scoring graph alone, as the median of its runs."
    )


def _of(part: int, every: int) -> str:
    return f"{part:,} ({shown(part / every, Kind.SHARE)} of {every:,})" if every else "0"


def _some(figures: Mapping[str, Figure], *names: str) -> list[Figure]:
    return [figures[name] for name in names if name in figures]
