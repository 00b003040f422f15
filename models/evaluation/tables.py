"""The tables of an evaluation's report."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from engine.timing import GraphTime
from models.evaluation.assessment import Assessment
from models.evaluation.confidence import Interval, wilson
from models.evaluation.judged import Judged
from models.evaluation.metrics import metrics
from models.evaluation.money import Alerts
from models.evaluation.slices import Slice
from models.report import Cell, Column, Kind, Table, shown

_INTERVAL = Column("95 %", Kind.SHARE, is_detail=True)
_ALERT_COLUMNS = (
    ("alerts", "count"),
    ("a day", "number"),
    Column("of all events", Kind.SHARE, is_detail=True),
    ("frauds", "count"),
    ("precision", "share"),
    _INTERVAL,
    ("recall", "share"),
    _INTERVAL,
)
_MONEY_COLUMNS = (
    Column("frauds' amounts", Kind.MONEY, is_detail=True),
    ("of all amounts", "share"),
    ("saved", "money"),
)


def actions_table(found: Assessment) -> Table:
    """Return what is declined, reviewed, and both."""
    rows = [
        (name, *_alerts_row(found.actions[key], found))
        for name, key in (("declined", "declined"), ("reviewed", "reviewed"), ("both", "alerted"))
    ]
    return Table(("what", *_ALERT_COLUMNS, *_money_columns(found)), rows)


def money_table(found: Assessment) -> Table:
    """Return what fraud costs without and with the thresholds."""
    money = found.money
    if money is None:
        return Table(("what",), ())
    best = f"{money.best.review:.4f} and {money.best.decline:.4f}"
    rows: list[tuple[Cell, ...]] = [
        ("if everything were approved", None, money.loss, 0.0, 0.0),
        (
            "with the bundle's thresholds",
            f"{found.thresholds.review:.4f} and {found.thresholds.decline:.4f}",
            money.loss - money.saved,
            money.saved,
            _share(money.saved, money.loss),
        ),
        (
            "with the best thresholds, known afterwards",
            best,
            money.loss - money.best_saved,
            money.best_saved,
            _share(money.best_saved, money.loss),
        ),
    ]
    columns = ("what", ("thresholds", "score"), ("cost", "money"), ("saved", "money"))
    return Table((*columns, ("of the loss", "share")), rows)


def ranking_table(found: Assessment) -> Table:
    """Return the measures of ranking, with their intervals."""
    measured = found.metrics
    rows = [
        ("area under the ROC", measured.auc_roc, interval_text(found.auc_roc_interval, Kind.SCORE)),
        (
            "average precision",
            measured.average_precision,
            interval_text(found.average_precision_interval, Kind.SCORE),
        ),
        ("card precision@100", measured.card_precision_at_100, None),
    ]
    return Table(("measure", ("value", "score"), _INTERVAL), rows)


def slice_tables(found: Assessment) -> list[Table]:
    """Return a table for each way to part the events."""
    return [
        _slice_table(group, list(parts), found.money is not None)
        for group, parts in groupby(found.slices, key=lambda each: each.group)
    ]


def _slice_table(group: str, parts: Sequence[Slice], has_money: bool) -> Table:
    rows = [
        (
            each.name,
            each.events,
            each.frauds,
            each.rate,
            each.score,
            each.average_precision,
            each.share,
            each.precision,
            each.recall,
            interval_text(each.recall_interval, Kind.SHARE),
            *((each.missed_amount,) if has_money else ()),
        )
        for each in parts
    ]
    columns = (
        group,
        ("events", "count"),
        ("frauds", "count"),
        ("rate", "share"),
        Column("mean score", Kind.SHARE, is_detail=True),
        Column("average precision", Kind.SCORE, is_detail=True),
        ("alerted", "share"),
        ("precision", "share"),
        ("recall", "share"),
        _INTERVAL,
        *((("amount missed", "money"),) if has_money else ()),
    )
    caption = ""
    if group == "fraud scenario":
        caption = "Each with its own frauds and all genuine events."
    return Table(columns, rows, caption)


def reliability_table(found: Assessment) -> Table:
    """Return scores and rates of fraud, by groups of events of like score."""
    rows = [
        (
            interval_text(Interval(each.low, each.high), Kind.SHARE),
            each.events,
            each.frauds,
            each.score,
            each.rate,
            interval_text(wilson(each.frauds, each.events), Kind.SHARE),
        )
        for each in found.reliability
    ]
    columns = ("score", ("events", "count"), ("frauds", "count"), ("mean score", "share"))
    return Table((*columns, ("rate of fraud", "share"), _INTERVAL), rows)


def budget_table(found: Assessment) -> Table:
    """Return what so many alerts a day find."""
    rows = [(each.score, *_alerts_row(each, found)) for each in found.budgets]
    return Table((("from score", "score"), *_ALERT_COLUMNS, *_money_columns(found)), rows)


def baseline_tables(found: Assessment) -> list[Table]:
    """Return how other models do on the same events; none without other models."""
    if not found.baselines:
        return []
    alerts = found.actions["alerted"].alerts
    models = {"this model": found.judged, **found.baselines}
    rows = []
    for name, judged in models.items():
        each = metrics(judged)
        caught = _caught(judged, alerts)
        rows.append(
            (
                name,
                each.auc_roc,
                each.average_precision,
                each.card_precision_at_100,
                each.calibration_error,
                caught,
            )
        )
    columns = (
        "model",
        ("area under the ROC", "score"),
        ("average precision", "score"),
        ("card precision@100", "score"),
        ("calibration error", "score"),
        ("recall at as many alerts", "share"),
    )
    return [Table(columns, rows, "Trained on the same features of the same training period.")]


def _caught(judged: Judged, alerts: int) -> float | None:
    """Return the share of the frauds among so many highest scores."""
    frauds = int(judged.fraud.sum())
    order = (-judged.scores).argsort(kind="stable")[:alerts]
    return int(judged.fraud[order].sum()) / frauds if frauds else None


def graph_table(times: Sequence[GraphTime]) -> Table:
    """Return how long the graph takes."""
    rows = [(each.batch, each.us_per_event, 1e6 / each.us_per_event) for each in times]
    columns = (("events in a batch", "count"), ("µs an event", "number"))
    return Table((*columns, ("events a second", "count")), rows)


def _alerts_row(each: Alerts, found: Assessment) -> tuple[Cell, ...]:
    row = (
        each.alerts,
        each.per_day,
        each.share,
        each.frauds,
        each.precision,
        interval_text(each.precision_interval, Kind.SHARE),
        each.recall,
        interval_text(each.recall_interval, Kind.SHARE),
    )
    return (*row, each.amount, each.amount_recall, each.saved) if found.money else row


def _money_columns(found: Assessment) -> Sequence[Column | str | tuple[str, str]]:
    return _MONEY_COLUMNS if found.money else ()


def interval_text(interval: Interval | None, kind: Kind) -> str | None:
    """Return an interval as text; None where there is none."""
    if interval is None:
        return None
    low, high = shown(interval.low, kind), shown(interval.high, kind)
    return f"{low.removesuffix(' %')}–{high}"


def _share(part: float, every: float) -> float | None:
    return part / every if every else None
