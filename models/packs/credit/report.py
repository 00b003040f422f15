"""The credit pack's report: how probabilities rank and hold, what is decided, and how fairly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import HistoryError
from models.packs.credit.figures import CreditFigures, Decile, deciles, stability
from models.packs.credit.plots import calibration_figure, gain_figure
from models.packs.reports import Report, ScoredHistory
from models.periods import TEACHES
from models.report import Column, Kind, Page, Table, shown

#: The values of the protected attributes in the UCI file.
_SEX = {1: "men", 2: "women"}
_EDUCATION = {1: "graduate school", 2: "university", 3: "high school"}
_AGES = ((0, 30, "below 30"), (30, 40, "30 to 39"), (40, 50, "40 to 49"), (50, 200, "50 and more"))

_FIGURES = (
    ("clients", "count"),
    ("defaults", "count"),
    ("rate", "share"),
    ("mean_score", "share"),
    ("auc", "score"),
    ("calibration_error", "score"),
)
_DETAILS = ("clients", "defaults", "mean_score", "auc")


def report(scored: ScoredHistory) -> Report:
    """Judge each client's last statement whose outcome is known; clients that only teach are none.

    Raises:
        HistoryError: no statement has an outcome, or all are alike.
    """
    expected = scored.outputs["expected_loss"]
    known = _last_known(scored)
    default = scored.labels[known] > 0.5
    if not 0 < default.sum() < len(default):
        raise HistoryError(
            "a credit report must have clients who default and clients who do not, however: "
            f"{int(default.sum()):,} of {len(default):,} do; give statements with outcomes"
        )
    scores = scored.scores[known].astype(np.float64)
    found = CreditFigures.of(scores, default)
    table = deciles(scores, default)
    decided = _decided(scored, expected[known], known, default)
    fairness = list(_groups(scored, known))
    page = Page(
        f"Credit report: {scored.manifest.name}, version {scored.manifest.version}",
        f"{found.clients:,} clients of {scored.data}, of whom {found.defaults:,} default.",
    )
    _ranking(page, found)
    _lift(page, table)
    _decisions(page, scored, decided)
    _fairness(page, fairness)
    _reasons(page, scored, known)
    figures = {
        **found.to_dict(),
        "deciles": [asdict(each) for each in table],
        "decisions": decided,
        "fairness": fairness,
    }
    drawings = {
        "Ranking and calibration": lambda: [calibration_figure(scores, default)],
        "Lift": lambda: [gain_figure(table)],
    }
    return Report(page, figures, drawings)


def _last_known(scored: ScoredHistory) -> NDArray[np.bool_]:
    """Return which statements are judged: one of each client, bool ``[n]``."""
    names = np.array(scored.columns.accounts)
    teaches = np.array([TEACHES in each for each in scored.columns.accounts], dtype=np.bool_)
    rows = np.flatnonzero(scored.judged & ~np.isnan(scored.labels) & ~teaches)
    _, from_the_end = np.unique(names[rows][::-1], return_index=True)
    known = np.zeros(len(names), dtype=np.bool_)
    known[rows[len(rows) - 1 - from_the_end]] = True
    return known


def fold_table(folds: Mapping[str, Sequence[CreditFigures]]) -> Table:
    """Return the means over folds of several models, with the standard deviation of the AUC."""
    rows: list[tuple[Any, ...]] = []
    for name, each in folds.items():
        auc = np.array([fold.auc for fold in each], dtype=np.float64)
        means = [
            float(np.mean([getattr(fold, figure) for fold in each]))
            for figure in ("auc", "gini", "ks", "brier", "calibration_error")
        ]
        rows.append((name, means[0], float(auc.std(ddof=1)), *means[1:]))
    titles: list[Column | str | tuple[str, str]] = [
        "model",
        ("AUC", "score"),
        ("±", "score"),
        ("Gini", "score"),
        ("KS", "score"),
    ]
    return Table([*titles, ("Brier", "score"), ("calibration error", "score")], rows)


def stability_between(folds: Sequence[NDArray[np.float64]]) -> float:
    """Return the largest population stability index between any fold's scores and another's."""
    pairs = [(a, b) for a in range(len(folds)) for b in range(len(folds)) if a != b]
    return max(stability(folds[a], folds[b]) for a, b in pairs)


def _ranking(page: Page, found: CreditFigures) -> None:
    page.section(
        "Ranking and calibration",
        tiles=[
            ("area under the ROC", shown(found.auc, Kind.SCORE)),
            ("Gini", shown(found.gini, Kind.SCORE)),
            ("KS", shown(found.ks, Kind.SCORE)),
            ("Brier score", shown(found.brier, Kind.SCORE)),
            ("calibration error", shown(found.calibration_error, Kind.SCORE)),
        ],
        text=(
            f"The mean probability is {shown(found.mean_score, 'share')}, the rate of default "
            f"{shown(found.rate, 'share')}. The calibration error is over ten bins of equal width."
        ),
    )


def _lift(page: Page, table: Sequence[Decile]) -> None:
    columns: list[Column | str | tuple[str, str]] = [
        ("tenth", "count"),
        ("clients", "count"),
        ("defaults", "count"),
        ("mean probability", "share"),
        ("rate of default", "share"),
        ("lift", "number"),
        ("defaults found", "share"),
    ]
    rows: list[tuple[Any, ...]] = [tuple(asdict(each).values()) for each in table]
    page.section(
        "Lift", text="Tenths of the clients, the riskiest first.", table=Table(columns, rows)
    )


def _decided(
    scored: ScoredHistory,
    expected: NDArray[np.float32],
    known: NDArray[np.bool_],
    default: NDArray[np.bool_],
) -> list[dict[str, Any]]:
    """Return what was decided of how many, and how they turned out."""
    decisions = scored.decisions[known]
    found = []
    for at, name in enumerate(scored.manifest.decisions):
        chosen = decisions == at
        count = int(chosen.sum())
        found.append(
            {
                "decision": name,
                "clients": count,
                "share": count / len(decisions),
                "rate": float(default[chosen].mean()) if count else None,
                "expected_loss": float(expected[chosen].sum()),
            }
        )
    return found


def _decisions(page: Page, scored: ScoredHistory, decided: Sequence[Mapping[str, Any]]) -> None:
    columns: list[Column | str | tuple[str, str]] = [
        "decision",
        ("clients", "count"),
        ("of all", "share"),
        ("rate of default", "share"),
    ]
    rules = [
        f"{each.decision}: expected loss of {each.limit:,.0f} or more"
        for each in scored.manifest.rules
    ]
    given = [f"{name}: {value:g}" for name, value in scored.manifest.parameters.items()]
    page.section(
        "Decisions",
        text="By the expected loss: probability of default x exposure x loss given default.",
        points=[*rules, *given],
        table=Table(
            [*columns, ("expected loss", "money")], [tuple(each.values()) for each in decided]
        ),
    )


def _groups(scored: ScoredHistory, known: NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
    """Yield the figures of each group of clients by a protected attribute that was said."""
    attributes = _attributes(scored)
    scores, labels = scored.scores[known].astype(np.float64), scored.labels[known] > 0.5
    decisions, exposure = scored.decisions[known], scored.outputs["exposure"][known]
    for what, name, member in _members({each: part[known] for each, part in attributes.items()}):
        if not member.any():
            continue
        figures = CreditFigures.of(scores[member], labels[member]).to_dict()
        yield {
            "attribute": what,
            "group": name,
            **{each: figures[each] for each, _ in _FIGURES},
            "mean_exposure": float(exposure[member].mean()),
            "approved": float((decisions[member] == 0).mean()),
        }


def _attributes(scored: ScoredHistory) -> dict[str, NDArray[np.float32]]:
    """Return each client's attributes at each statement: those that came last; float32 ``[n]``."""
    accounts = np.unique(np.array(scored.columns.accounts), return_inverse=True)[1]
    found = {}
    for name in ("sex", "education", "age"):
        said = scored.columns.values.get(name)
        if said is None:
            continue
        client = np.zeros(int(accounts.max()) + 1, dtype=np.float32)
        np.maximum.at(client, accounts, said)
        found[name] = client[accounts]
    return found


def _members(
    attributes: Mapping[str, NDArray[np.float32]],
) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    for what, names in (("sex", _SEX), ("education", _EDUCATION)):
        values = attributes.get(what, np.zeros(0, dtype=np.float32))
        yield from ((what, name, values == value) for value, name in names.items())
        if what == "education":
            yield what, "other", (values > max(names))
    ages = attributes.get("age", np.zeros(0, dtype=np.float32))
    for low, high, name in _AGES:
        yield "age", name, (ages > 0) & (ages >= low) & (ages < high)


def _fairness(page: Page, groups: Sequence[Mapping[str, Any]]) -> None:
    columns: list[Column | str | tuple[str, str]] = [
        "attribute",
        "group",
        *(
            Column(name.replace("_", " "), Kind(kind), is_detail=name in _DETAILS)
            for name, kind in _FIGURES
        ),
        ("mean exposure", "money"),
        ("approved", "share"),
    ]
    text = (
        "The scorer does not read these attributes. Decisions follow the expected loss, so that "
        "approval differs with the exposure (bill and limit) as well as with the rate of default. "
        "How far a group's probabilities are off, its calibration error says."
    )
    if not groups:
        page.section("Fairness", text="The statements say no protected attribute.")
        return
    page.section(
        "Fairness", text=text, table=Table(columns, [tuple(each.values()) for each in groups])
    )


def _reasons(page: Page, scored: ScoredHistory, known: NDArray[np.bool_]) -> None:
    texts = {each.name: each.text for each in scored.manifest.reasons}
    first = Counter(
        names[0] for place, names in scored.reasons.items() if known[place] and len(names)
    )
    rows = [(texts[name], count) for name, count in first.most_common()]
    page.section(
        "Principal reasons",
        text="The strongest reason of each client who is not approved, as a letter may state it.",
        table=Table(["reason", ("clients", "count")], rows),
    )
