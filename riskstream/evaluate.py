"""``riskstream evaluate``: how good a bundle is on a history with labels."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import track

from engine.columns import Columns
from engine.decode import Decoder, Limits
from engine.errors import HistoryError
from engine.history import History
from engine.offline import OfflineScorer
from riskstream.options import (
    BundleOption,
    ConfigOption,
    FieldOption,
    JsonOption,
    UntilOption,
    err,
    load_bundle,
    map_fields,
    out,
    parse_time,
    print_json,
    settings_of,
)
from riskstream.train import require_training
from streams.worker import new_scorer

_CHUNK = 4_096

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
    field: FieldOption = None,
    config: ConfigOption = None,
    bundle: BundleOption = None,
    json: JsonOption = False,
) -> None:
    r"""Judge a bundle on a history: ranking, calibration, and what its thresholds find.

    Needs the extra riskstream\[train]. Cards with a fraud from 14 days before
    --from on are left out from 8 days after it, as the Fraud Detection Handbook's
    protocol has it.

    [bold]Examples[/bold]

      riskstream evaluate transactions.parquet --from 2026-06-08

      riskstream evaluate raw.csv -c config/handbook.toml --from 2018-08-08 --json
    """
    require_training()
    from models.evaluation import compromised
    from models.evaluation import evaluate as judge

    settings = settings_of(config, bundle)
    loaded = load_bundle(settings)
    start_ms = parse_time("--from", start) or 0
    schema = map_fields(loaded.manifest.schema, settings, field)
    history = History.open(file, schema, None, parse_time("--until", until))
    if history.labels is None:
        path = schema.label.path if schema.label else "label"
        raise HistoryError(
            f"an evaluation must have labels, however: {file.name} has no column {path!r}; "
            "map it with --field"
        )
    if not len(history) or history.event_time_ms[-1] < start_ms:
        raise HistoryError(
            f"an evaluation must have events to judge, however: {file.name} has none in the time "
            "of --from and --until"
        )
    offline = OfflineScorer(Decoder(schema, Limits()), new_scorer(settings, loaded))
    scores, columns = _score(offline, history)
    labels = history.labels[columns.rows]
    judged = columns.event_time_ms >= start_ms
    known = compromised(columns, labels, since_ms=start_ms - _KNOWN_SINCE_MS)
    metrics = judge(
        scores,
        labels,
        columns,
        thresholds=loaded.manifest.thresholds,
        keep=judged & ~known,
    )
    if json:
        print_json(metrics.to_dict())
        return
    _print(metrics.to_dict())


def _score(
    offline: OfflineScorer, history: History
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float32]], Columns]:
    scores, parts, first = [], [], 0
    now_ms = time.time_ns() // 1_000_000
    steps = -(-len(history) // _CHUNK)
    for chunk in track(
        history.chunks(_CHUNK), "scoring", steps, console=err, disable=not err.is_terminal
    ):
        batch = offline.score(chunk.values, now_ms)
        scores.append(batch.scored.scores)
        parts.append(batch.columns.shifted(first))
        first += len(chunk)
    return np.concatenate(scores), Columns.concatenate(parts)


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
