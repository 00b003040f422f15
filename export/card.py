"""The model card of a bundle: what it is, what it was trained on, how good it is, where it fails.

``MODEL_CARD.md`` lies in the bundle's folder and is not of its digest: people may write into it.
An evaluation replaces only its own part, which two comments enclose. (Mitchell et al., Model Cards
for Model Reporting, 2019.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from engine.errors import BundleError
from engine.manifest import LOG_ODDS, Manifest
from models.evaluation import Assessment
from models.evaluation.report import rule_of, tiles, weak_points
from models.evaluation.tables import (
    actions_table,
    ranking_table,
    reliability_table,
    slice_tables,
)
from models.report import Kind, Page, Table, shown

CARD_FILE = "MODEL_CARD.md"

_BEGIN, _END = "<!-- begin: riskstream evaluate -->", "<!-- end: riskstream evaluate -->"


def write_card(folder: Path, manifest: Manifest, found: Assessment) -> None:
    """Write a new model's card.

    Args:
        folder: of the bundle.
        manifest: of the bundle.
        found: its figures on the validation period.

    Raises:
        BundleError: the folder cannot be written.
    """
    page = _model(manifest)
    page.section(
        "Validation",
        text=(
            f"On the last days of its history, {_period(manifest, 'validation')}. They also chose "
            "the best epoch, the calibration and the thresholds, so that they flatter the model a "
            "little: judge it on later events with riskstream evaluate."
        ),
        tiles=tiles(found),
        table=[ranking_table(found), actions_table(found)],
    )
    page.section("Calibration", table=reliability_table(found), text=_CALIBRATION)
    page.section(
        "Where it fails",
        text="Parts of the validation period; those with a recall below that of all, beyond chance:"
        if weak_points(found)
        else "Parts of the validation period. None has a recall below that of all, beyond chance.",
        points=weak_points(found),
        table=slice_tables(found),
    )
    _write(folder, page.markdown())


def write_short_card(folder: Path, manifest: Manifest) -> None:
    """Write a card of what a manifest says. Raises :class:`engine.errors.BundleError`."""
    _write(folder, _model(manifest).markdown())


def update_card(folder: Path, manifest: Manifest, evaluation: Page) -> None:
    """Write an evaluation into a bundle's card, in the place of an earlier one.

    Args:
        folder: of the bundle. A card that is missing is made.
        manifest: of the bundle.
        evaluation: the report.

    Raises:
        BundleError: the card cannot be read or written.
    """
    try:
        text = (folder / CARD_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        text = _model(manifest).markdown()
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"a model card must be readable, however: {error}") from None
    part = f"{_BEGIN}\n{evaluation.markdown(level=2)}{_END}\n"
    found = re.search(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}\n?", text, re.DOTALL)
    if found is None:
        _write(folder, f"{text.rstrip()}\n\n{part}")
    else:
        _write(folder, text[: found.start()] + part + text[found.end() :])


def _model(manifest: Manifest) -> Page:
    """Return what a manifest says of a model."""
    page = Page(
        f"Model card: {manifest.name}, version {manifest.version}",
        f"A scorer of the pack {manifest.pack}, family {manifest.family}, made {manifest.created}.",
    )
    page.section("Use", text=_use(manifest), points=_limits(manifest))
    page.section("Training", table=_training_table(manifest))
    if manifest.rules:
        page.section("Rules", text=_RULES, table=_rules_table(manifest))
    else:
        page.section("Thresholds", text=rule_of(manifest.thresholds, manifest))
    text = _REASONS if manifest.reasons_in == LOG_ODDS else _REASONS_OF_A_FORECAST
    page.section("Reasons", text=text, table=_reasons_table(manifest))
    return page.section("Inputs", table=_inputs_table(manifest), points=_shared(manifest))


_CALIBRATION = (
    "A score is the probability of fraud at the rate of fraud of the training's data. Where the "
    "rate differs, scores are off by as much: judge them again, and train again."
)
_RULES = "An event gets the gravest decision of the rules that hold."
_REASONS_OF_A_FORECAST = (
    "An alert names the groups of features that pushed the volatility up, each measured by holding "
    "the group at its median. They say what the forecast rests on."
)
_REASONS = (
    "An alert names the groups of features that pushed its log-odds up, each measured by holding "
    "the group at the median of genuine events. They say what the score rests on, not what caused "
    "the outcome."
)


def _rules_table(manifest: Manifest) -> Table:
    rows = [
        (each.name, each.output, each.limit, each.decision, each.text) for each in manifest.rules
    ]
    columns = (("rule", "code"), ("value", "code"), ("from", "number"), "decision", "text")
    return Table(columns, rows)


def _use(manifest: Manifest) -> str:
    name = manifest.schema.account.name
    if manifest.rules:
        return (
            f"It answers each event of a stream as it comes, with what is known of its {name} and "
            f"of the shared entities at that moment: {', '.join(('score', *manifest.outputs))}."
        )
    return (
        f"It scores each event of a stream as it comes, with what is known of its {name} and of "
        "the shared entities at that moment, for review by analysts or for declining."
    )


def _limits(manifest: Manifest) -> Sequence[str]:
    labels = any(each.takes_labels for each in manifest.shared)
    points = [
        "It was trained on one stream's events, of the period below. On another stream it must be "
        "judged first, and best trained anew.",
        "An account without earlier events is scored by its event and the shared entities alone.",
        "Decisions on people need a person: give those who are declined a way to be heard.",
    ]
    if labels:
        points.append(
            "It uses labels as they become known. Where labels stop coming, or come later than in "
            "training, it finds less."
        )
    return points


def _training_table(manifest: Manifest) -> Table:
    training = manifest.training
    rows: list[tuple[str, str]] = [
        ("data", str(training.get("data", "not said"))),
        ("events", shown(training.get("events"), Kind.COUNT)),
        ("accounts", shown(training.get("accounts"), Kind.COUNT)),
        ("training period", _period(manifest, "training")),
        ("validation period", _period(manifest, "validation")),
        ("features", shown(len(manifest.features), Kind.COUNT)),
        ("made with", ", ".join(f"{name} {each}" for name, each in manifest.versions.items())),
    ]
    return Table(("what", "value"), rows)


def _period(manifest: Manifest, name: str) -> str:
    period = manifest.training.get(name)
    if not isinstance(period, dict) or not {"from_ms", "to_ms", "events"} <= period.keys():
        return "not said"
    first, last = (shown(period[each], Kind.DATE) for each in ("from_ms", "to_ms"))
    told = f"{first} to {last} (UTC): {period['events']:,} events"
    label = manifest.schema.label
    if label is None or "positives" not in period:
        return told
    return f"{told}, {period['positives']:,} {label.name}s"


def _reasons_table(manifest: Manifest) -> Table:
    return Table(
        (("group", "code"), "what an analyst reads"),
        [(each.name, each.text) for each in manifest.reasons],
    )


def _inputs_table(manifest: Manifest) -> Table:
    rows = [
        (each.name, str(each.type), str(each.role), "yes" if each.required else "no")
        for each in manifest.schema.streamed
    ]
    return Table((("field", "code"), "type", "role", "required"), rows)


def _shared(manifest: Manifest) -> Sequence[str]:
    return [
        f"shared entity {each.name}: {', '.join(part.name for part in each.quantities)} in "
        f"{each.buckets} buckets of {each.bucket_s / 3600:g} h"
        for each in manifest.shared
    ] + (["features: " + ", ".join(manifest.features)] if manifest.features else [])


def _write(folder: Path, text: str) -> None:
    try:
        (folder / CARD_FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise BundleError(f"the bundle's folder must be writable, however: {error}") from None
