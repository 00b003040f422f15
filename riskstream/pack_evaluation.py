"""``riskstream evaluate`` where the bundle's pack has a report of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from engine.bundle import Bundle
from engine.columns import Columns
from engine.errors import HistoryError
from engine.history import History
from engine.scored import Scored
from models.packs.registry import find_pack
from riskstream.histories import Scoring, score_history
from streams.settings import Settings

if TYPE_CHECKING:
    from models.packs.reports import Report, ScoredHistory


def own_report(bundle: Bundle, pack: str | None = None) -> Callable[[ScoredHistory], Report] | None:
    """Return the report of a bundle's pack; None where it has none of its own.

    Args:
        bundle: whose pack is looked for among those that come with riskstream.
        pack: the name or folder of the pack instead.

    Raises:
        ConfigError: there is no such pack, or its code fails.
    """
    from models.packs.code import code_of, load_code

    return (
        code_of(bundle.manifest.pack).report if pack is None else load_code(find_pack(pack)).report
    )


def scored_history(
    history: History, bundle: Bundle, settings: Settings, how: Scoring, start_ms: int, data: str
) -> ScoredHistory:
    """Score a history as the stream does it, for a pack's report.

    Args:
        history: the events.
        bundle: the model.
        settings: how events are read, and where rules begin.
        how: what scores know.
        start_ms: events from this time on are to be judged.
        data: the name of the file.

    Raises:
        HistoryError: no event can be scored.
    """
    from models.packs.reports import Outputs, ScoredHistory

    parts: list[Columns] = []
    scored: list[Scored] = []
    start = 0
    for chunk, batch in score_history(history, bundle, settings, how):
        parts.append(batch.columns.shifted(start))
        scored.append(batch.scored)
        start += len(chunk)
    if not parts or not sum(len(each) for each in parts):
        raise HistoryError(
            f"a history must have events that can be scored, however: {data} has none"
        )
    columns, found = Columns.concatenate(parts), Scored.concatenate(scored)
    fresh = ~found.duplicate
    labels = np.full(len(columns), np.nan, dtype=np.float32)
    if history.labels is not None:
        labels = history.labels[columns.rows]
    moved = (np.cumsum(fresh) - 1).tolist()
    outputs = found.outputs if found.outputs is not None else np.zeros((len(fresh), 0), np.float32)
    return ScoredHistory(
        manifest=bundle.manifest.in_use(settings.parameters, settings.limits),
        columns=columns.take(fresh),
        scores=found.scores[fresh],
        outputs=Outputs(zip(bundle.manifest.outputs, outputs[fresh].T, strict=True)),
        decisions=found.decisions[fresh],
        labels=labels[fresh],
        late=found.late[fresh],
        judged=columns.event_time_ms[fresh] >= start_ms,
        data=data,
        reasons={
            moved[place]: [each.group.name for each in reasons if each.is_reason]
            for place, reasons in found.reasons.items()
        },
    )
