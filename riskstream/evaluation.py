"""What ``riskstream evaluate`` does: score a history, judge it, and put it on a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from engine.bundle import Bundle
from engine.columns import Columns
from engine.errors import HistoryError, SchemaError
from engine.history import Chunk, History
from engine.schema import Field, FieldType, Schema
from engine.timing import time_graph
from models.costs import Costs
from models.report import Page
from riskstream.histories import Period, Scoring, labels_of, open_history, score_history
from riskstream.options import format_duration
from streams.settings import Settings

if TYPE_CHECKING:
    from models.evaluation import Assessment, Judged
    from models.evaluation.report import About

Floats: TypeAlias = NDArray[np.float32]
Texts: TypeAlias = NDArray[np.object_]

#: Frauds from so long before the judged period on make their cards known: the training week and
#: the week that its labels take, in the Handbook's protocol.
_KNOWN_SINCE_MS = 14 * 86_400_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be judged, and how.

    Args:
        file: the history.
        period: what is read of it; its ``start`` is only where judging begins.
        start_ms: events from this time on are judged.
        how: what scores know; features are kept for the baselines.
        costs: what is weighed.
        scenario: the column with the kind of a fraud; None for none.
    """

    file: Path
    period: Period
    start_ms: int
    how: Scoring
    costs: Costs
    scenario: str | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A bundle's figures on a history."""

    assessment: Assessment
    about: About

    def page(self, with_figures: bool = False) -> Page:
        """Return the report; its figures need Matplotlib."""
        from models.evaluation.report import evaluation_page

        if not with_figures:
            return evaluation_page(self.assessment, self.about, {})
        from models.evaluation.plots import figures

        return evaluation_page(self.assessment, self.about, figures(self.assessment))

    def write_card(self, folder: Path) -> None:
        """Write the figures into a bundle's model card. Raises ``BundleError``."""
        from export.card import update_card

        update_card(folder, self.about.manifest, self.page())

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as JSON holds them."""
        about = self.about
        graph = {str(each.batch): each.us_per_event for each in about.times}
        return {
            "bundle": {
                "name": about.manifest.name,
                "version": about.manifest.version,
                "digest": about.digest,
            },
            "data": about.data,
            **self.assessment.to_dict(),
            "graph": {"provider": about.provider, "us_per_event": graph},
        }


@dataclass(frozen=True, slots=True)
class _Scored:
    """``n`` events that could be scored: scores ``[n]``, kinds of fraud, features ``[n, f]``."""

    columns: Columns
    scores: Floats
    scenario: Texts | None
    features: Floats | None


def run(wanted: Wanted, bundle: Bundle, settings: Settings) -> Evaluation:
    """Judge a bundle on a history.

    Raises:
        HistoryError: the file cannot be read, has no labels, or no event to judge.
        SchemaError: a mapped field is none of the bundle's.
    """
    from models.evaluation import assess
    from streams.worker import thresholds_of

    judged, others = judge_history(wanted, bundle, settings)
    found = assess(judged, thresholds_of(settings, bundle), wanted.costs, others)
    return Evaluation(found, _about(wanted, bundle, settings))


def judge_history(
    wanted: Wanted, bundle: Bundle, settings: Settings
) -> tuple[Judged, dict[str, Judged]]:
    """Return the events of a history that are judged, and with the baselines' scores.

    Raises:
        HistoryError, SchemaError: see :func:`run`.
    """
    from models.evaluation import judge

    schema = bundle.manifest.schema
    history = _open(wanted, schema, settings)
    labels = labels_of(history, wanted.file, "an evaluation")
    if not len(history) or history.event_time_ms[-1] < wanted.start_ms:
        raise HistoryError(
            f"an evaluation must have events to judge, however: {wanted.file.name} has none in "
            "the time of --from and --until"
        )
    scored = _score(wanted, history, bundle, settings)
    known = labels[scored.columns.rows]
    keep = _judged(scored.columns, known, wanted.start_ms)
    columns = scored.columns
    judged = judge(
        scored.scores, known, columns, schema=schema, keep=keep, scenario=scored.scenario
    )
    labelled = keep & ~np.isnan(known)
    others = {
        name: replace(judged, scores=scores)
        for name, scores in _baselines(scored, known, labelled, bundle).items()
    }
    return judged, others


def _open(wanted: Wanted, schema: Schema, settings: Settings) -> History:
    """Open the history, its events with the column of the kind of fraud where that is wanted."""
    period = Period(until=wanted.period.until)
    if wanted.scenario is None:
        return open_history(wanted.file, schema, settings, period)
    try:
        field = Field("scenario_", wanted.scenario, FieldType.CATEGORY, required=False)
        wider = Schema((*schema.fields, field))
    except SchemaError as error:
        raise SchemaError(f"--scenario must name a column, however: {error}") from None
    return open_history(wanted.file, wider, settings, period)


def _score(wanted: Wanted, history: History, bundle: Bundle, settings: Settings) -> _Scored:
    scores, parts, features, kinds, first = [], [], [], [], 0
    for chunk, batch in score_history(history, bundle, settings, wanted.how):
        scores.append(batch.scored.scores)
        parts.append(batch.columns.shifted(first))
        if batch.scored.features is not None:
            features.append(batch.scored.features)
        if wanted.scenario is not None:
            kinds += list(_kinds(chunk, batch.columns, wanted.scenario))
        first += len(chunk)
    if wanted.scenario is not None and not any(kinds):
        raise HistoryError(
            f"--scenario must name a column of the history, however: {wanted.file.name} has no "
            f"value under {wanted.scenario!r}"
        )
    return _Scored(
        columns=Columns.concatenate(parts),
        scores=np.concatenate(scores),
        scenario=np.array(kinds, dtype=object) if wanted.scenario is not None else None,
        features=np.concatenate(features) if features else None,
    )


def _kinds(chunk: Chunk, columns: Columns, path: str) -> Iterator[str]:
    """Yield what stands under a path in each event, as text; nothing is the empty text."""
    for row in columns.rows.tolist():
        node = orjson.loads(chunk.values[row])
        for key in path.split("."):
            node = node.get(key) if isinstance(node, dict) else None
        yield "" if node is None else str(node)


def _judged(columns: Columns, labels: Floats, start_ms: int) -> NDArray[np.bool_]:
    """Return which events are from ``start_ms`` on and of cards that are not known; ``[n]``."""
    from models.evaluation import compromised

    known = compromised(columns, labels, since_ms=start_ms - _KNOWN_SINCE_MS)
    return np.asarray((columns.event_time_ms >= start_ms) & ~known, dtype=np.bool_)


def _baselines(
    scored: _Scored, labels: Floats, judged: NDArray[np.bool_], bundle: Bundle
) -> dict[str, Floats]:
    """Return other models' scores of the events that are judged; float32 ``[judged]`` each."""
    if scored.features is None:
        return {}
    from models.evaluation.baselines import baselines

    period = bundle.manifest.training.get("training")
    if not isinstance(period, dict) or not {"from_ms", "to_ms"} <= period.keys():
        raise HistoryError(
            "--baselines must know the bundle's training period, however: "
            f"{bundle.manifest.name} does not say it; train it with this version of riskstream"
        )
    times = scored.columns.event_time_ms
    training = (times >= period["from_ms"]) & (times <= period["to_ms"]) & ~np.isnan(labels)
    return baselines(scored.features, labels > 0.5, training, judged)


def _about(wanted: Wanted, bundle: Bundle, settings: Settings) -> About:
    from models.evaluation.report import About

    provider, times = time_graph(bundle, settings.model.device, settings.model.threads)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return About(
        manifest=bundle.manifest,
        digest=bundle.digest,
        data=wanted.file.name,
        made=f"Made by riskstream {version('riskstream')} on {now}.",
        protocol=_protocol(wanted),
        provider=provider,
        times=times,
    )


def _protocol(wanted: Wanted) -> tuple[str, ...]:
    delay = wanted.how.label_delay_ms
    known = (
        "Scores know no labels."
        if delay is None
        else f"Each label is known to scores from {format_duration(delay)} after its event on."
    )
    return (
        known,
        "Events without a label are not judged, nor are those of cards known to be compromised: "
        "with a fraud from 14 days before the judged period on, from 8 days after it on.",
    )
