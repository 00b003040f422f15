"""What the commands that read a file of events have in common."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from engine.bundle import Bundle
from engine.columns import Decoded
from engine.decode import Decoder
from engine.errors import HistoryError
from engine.history import Chunk, History
from engine.offline import OfflineScorer, ScoredBatch
from engine.schema import Schema
from engine.scorer import Scorer
from riskstream.options import err, parse_time
from streams.settings import Settings

_CHUNK = 4_096


@dataclass(frozen=True, slots=True)
class Period:
    """The time that ``--from`` and ``--until`` cut out of a history.

    Args:
        start: its first moment as ISO 8601; None for the history's.
        until: the first moment after it; None for none.
    """

    start: str | None = None
    until: str | None = None


def open_history(
    file: Path, schema: Schema, settings: Settings, period: Period | None = None
) -> History:
    """Open a history whose columns are named as the configuration and ``--field`` say.

    Raises:
        ConfigError: ``--from`` or ``--until`` is no time.
        SchemaError: a mapped field is none of the schema's.
        HistoryError: the file cannot be read as a history.
    """
    period = period or Period()
    start_ms = parse_time("--from", period.start)
    until_ms = parse_time("--until", period.until)
    return History.open(file, schema.with_paths(settings.fields), start_ms, until_ms)


def decode_history(history: History, file: Path) -> Decoded:
    """Decode a history, and say how many of its events cannot be read, and why.

    Raises:
        HistoryError: it has no events, or none that can be read.
    """
    if not len(history):
        raise HistoryError(
            f"a history must have events, however: {file.name} has none, or none between --from "
            "and --until"
        )
    decoded = history.decode(Decoder(history.schema), time.time_ns() // 1_000_000)
    if not decoded.rejects:
        return decoded
    first = min(decoded.rejects, key=lambda reject: history.file_rows[reject.row])
    told = f"row {history.file_rows[first.row] + 1:,} of {file.name}: {first.detail}"
    if not len(decoded.columns):
        raise HistoryError(
            f"a history must have events that can be read, however: all {len(history):,} are "
            f"refused, first {told}; map other columns with --field, or correct the file"
        )
    counts = Counter(str(reject.reason) for reject in decoded.rejects)
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in counts.most_common())
    err.print(f"{len(decoded.rejects):,} of {len(history):,} events are left out: {reasons}")
    err.print(f"  first {told}", markup=False)
    return decoded


def labels_of(history: History, file: Path, what: str) -> NDArray[np.float32]:
    """Return the labels of a history; float32 ``[n]``. Raises :class:`HistoryError`.

    Args:
        history: the events.
        file: where they came from.
        what: what needs the labels.
    """
    if history.labels is not None:
        return history.labels
    path = history.schema.label.path if history.schema.label else "label"
    raise HistoryError(
        f"{what} must have labels, however: {file.name} has no numbers under {path!r}; "
        "map it with --field"
    )


@dataclass(frozen=True, slots=True)
class Scoring:
    """How a history is scored.

    Args:
        label_delay_ms: how long after its event a label becomes known; None to use no labels.
        with_features: whether the features' values are wanted too.
    """

    label_delay_ms: int | None = None
    with_features: bool = False

    def offline(self, decoder: Decoder, scorer: Scorer) -> OfflineScorer:
        """Return the scorer of a history."""
        return OfflineScorer(decoder, scorer, self.label_delay_ms, self.with_features)


def score_history(
    history: History, bundle: Bundle, settings: Settings, how: Scoring | None = None
) -> Iterator[tuple[Chunk, ScoredBatch]]:
    """Yield a history's events with their scores, batch after batch, and show the progress.

    The events are decoded, and scored, as the stream's worker does it.
    """
    from streams.worker import new_decoder, new_scorer

    decoder, scorer = new_decoder(settings, bundle.manifest), new_scorer(settings, bundle)
    yield from score_with((how or Scoring()).offline(decoder, scorer), history, "scoring")


def score_with(
    offline: OfflineScorer, history: History, what: str
) -> Iterator[tuple[Chunk, ScoredBatch]]:
    """Yield a history's events with their scores, batch after batch, and show the progress."""
    steps = -(-len(history) // _CHUNK)
    chunks = history.chunks(_CHUNK)
    for chunk in track(chunks, what, steps, console=err, disable=not err.is_terminal):
        yield chunk, offline.score(chunk.values, time.time_ns() // 1_000_000, chunk.labels)
