"""What a history amounts to: states, buckets, and the events that labels may still come for."""

from __future__ import annotations

import numpy as np

from engine.bundle import Bundle
from engine.history import History
from riskstream.histories import Scoring, score_with
from streams.backfill import Content
from streams.pipeline import new_label_reader
from streams.settings import Settings
from streams.worker import new_decoder, new_scorer

_DAY_MS = 86_400_000


def compute_content(
    history: History, bundle: Bundle, settings: Settings, how: Scoring
) -> tuple[Content, int]:
    """Return what a history amounts to, and the number of events that were scored."""
    decoder, scorer = new_decoder(settings, bundle.manifest), new_scorer(settings, bundle)
    offline = how.offline(decoder, scorer)
    reader = new_label_reader(settings, decoder, scorer)
    end_ms = int(history.event_time_ms[-1])
    since_ms = end_ms - round(settings.labels.keep_days * _DAY_MS)
    entries: dict[int, bytes] = {}
    events = 0
    for chunk, batch in score_with(offline, history, "computing"):
        columns = batch.columns
        events += len(columns)
        kept = ~batch.scored.duplicate & (columns.event_time_ms >= since_ms)
        if not reader.is_needed or not kept.any():
            continue
        known_ms = columns.event_time_ms + (how.label_delay_ms or 0)
        positive = np.full(len(columns), np.nan, dtype=np.float32)
        if chunk.labels is not None and how.label_delay_ms is not None:
            positive = np.where(known_ms <= end_ms, chunk.labels[columns.rows], np.float32(np.nan))
        found = reader.entries_of(columns.take(kept), positive[kept], known_ms[kept])
        hashes = columns.values[decoder.schema.event_id.name][kept].tolist()
        entries |= dict(zip(hashes, found, strict=True))
    rings = {table.shared.name: dict(table.rings()) for table in offline.knowledge.tables}
    return Content(dict(offline.states()), rings, entries), events
