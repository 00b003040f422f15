"""``riskstream evaluate``: how good a bundle is on a history with labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import typer
from numpy.typing import NDArray

from engine.bundle import Bundle
from engine.columns import Columns
from engine.errors import HistoryError
from engine.history import History
from engine.manifest import Thresholds
from riskstream.histories import Period, Scoring, labels_of, open_history, score_history
from riskstream.options import (
    BundleOption,
    ConfigOption,
    FieldOption,
    JsonOption,
    LabelsDelayOption,
    UntilOption,
    load_bundle,
    out,
    parse_duration,
    parse_time,
    print_json,
    settings_of,
)
from riskstream.train import require_training
from streams.settings import Settings

Floats: TypeAlias = NDArray[np.float32]

#: Frauds from so long before the judged period on make their cards known: the training week and
#: the week that its labels take, in the Handbook's protocol.
_KNOWN_SINCE_MS = 14 * 86_400_000


def evaluate(
    file: Annotated[Path, typer.Argument(help="A .parquet, .csv or .jsonl file with labels.")],
    start: Annotated[
        str | None,
        typer.Option("--from", help="Judge events from this time on; earlier ones build states."),
    ] = None,
    until: UntilOption = None,
    labels_delay: LabelsDelayOption = "7d",
    field: FieldOption = None,
    config: ConfigOption = None,
    bundle: BundleOption = None,
    json: JsonOption = False,
) -> None:
    r"""Judge a bundle on a history: ranking, calibration, and what its thresholds find.

    Needs the extra riskstream\[train]. Cards with a fraud from 14 days before
    --from on are left out from 8 days after it, as the Fraud Detection Handbook's
    protocol has it. Each score knows the labels that were known at its event.

    [bold]Examples[/bold]

      riskstream evaluate transactions.parquet --from 2026-06-08

      riskstream evaluate raw.csv -c config/handbook.toml --from 2018-08-08 --json
    """
    require_training()
    settings = settings_of(config, bundle, field)
    loaded = load_bundle(settings)
    history = open_history(file, loaded.manifest.schema, settings, Period(until=until))
    labels = labels_of(history, file, "an evaluation")
    start_ms = parse_time("--from", start) or 0
    if not len(history) or history.event_time_ms[-1] < start_ms:
        raise HistoryError(
            f"an evaluation must have events to judge, however: {file.name} has none in the time "
            "of --from and --until"
        )
    how = Scoring(parse_duration("--labels-delay", labels_delay))
    scores, columns = _score(history, loaded, settings, how)
    figures = _judge(scores, columns, labels[columns.rows], loaded.manifest.thresholds, start_ms)
    if json:
        print_json(figures)
    else:
        _print(figures)


def _score(
    history: History, bundle: Bundle, settings: Settings, how: Scoring
) -> tuple[Floats, Columns]:
    """Return the scores, float32 ``[n]``, and the ``n`` events that could be scored."""
    scores, parts, first = [], [], 0
    for chunk, batch in score_history(history, bundle, settings, how):
        scores.append(batch.scored.scores)
        parts.append(batch.columns.shifted(first))
        first += len(chunk)
    return np.concatenate(scores), Columns.concatenate(parts)


def _judge(
    scores: Floats, columns: Columns, labels: Floats, thresholds: Thresholds, start_ms: int
) -> dict[str, Any]:
    """Return the figures of the events from ``start_ms`` on whose cards are not known."""
    from models.evaluation import compromised, evaluate

    known = compromised(columns, labels, since_ms=start_ms - _KNOWN_SINCE_MS)
    judged = (columns.event_time_ms >= start_ms) & ~known
    return evaluate(scores, labels, columns, thresholds=thresholds, keep=judged).to_dict()


def _print(figures: dict[str, Any]) -> None:
    for name, value in figures.items():
        if name == "at_threshold":
            continue
        shown = (
            "–" if value is None else f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
        )
        out.print(f"{name:<24}{shown:>12}")
    for name, found in figures["at_threshold"].items():
        line = "  ".join(f"{what} {value:.4f}" for what, value in found.items())
        out.print(f"{name:<24}{line}")
