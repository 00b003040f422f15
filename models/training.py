"""Training a scorer on a history.

In the order it runs: the features of all events (once, they do not depend on the weights); the
scale of each, and the reference of the reasons; epochs over windows of the accounts' histories,
each kept in the checkpoint; after each epoch the average precision on the validation period; then
calibration and thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.columns import Columns
from engine.manifest import Thresholds
from engine.schema import Schema
from models.calibration import fit_platt
from models.checkpoint import Checkpoint
from models.config import TrainConfig
from models.data import Histories, account_hashes, by_account, feature_table
from models.evaluation.judged import Judged, judge
from models.features.base import DAY_MS
from models.fitting import Fitting
from models.learner import Learner, Material, ranking, validation_logits
from models.periods import Periods, split
from models.processes import ALONE, Processes
from models.progress import Progress
from models.scorer import Scorer

#: Events whose features set the scales.
_SAMPLE = 100_000

#: Accounts and events of each that an exported graph is checked on.
_CHECKED_ACCOUNTS, _CHECKED_STEPS = 128, 48

_SILENT = Progress()


@dataclass(frozen=True, slots=True)
class TrainedScorer:
    """What a training gives.

    Args:
        scorer: in evaluation mode, calibrated.
        schema: of its events.
        config: how it was trained.
        thresholds: chosen on the validation period.
        facts: the periods and counts of the training, for the manifest.
        metrics: of the validation period, for the manifest.
        validation: the events of the validation period with their scores; None for a model whose
            score is no probability.
        sample: the first events of some accounts, field to ``[accounts, T]``: what an exported
            graph is checked on.
    """

    scorer: Scorer
    schema: Schema
    config: TrainConfig
    thresholds: Thresholds
    facts: Mapping[str, Any]
    metrics: Mapping[str, float]
    validation: Judged | None
    sample: Mapping[str, NDArray[Any]]


def train(
    columns: Columns,
    labels: NDArray[np.float32],
    schema: Schema,
    config: TrainConfig,
    progress: Progress = _SILENT,
    checkpoint: Checkpoint | None = None,
    processes: Processes = ALONE,
) -> TrainedScorer:
    """Train a scorer on a history.

    Args:
        columns: ``n`` events sorted by time, none of them later than what may be known.
        labels: 1 fraud, 0 genuine, NaN unknown; float32 ``[n]``.
        schema: of these events.
        config: what is trained, and how.
        progress: is told how far it is.
        checkpoint: what is kept after each epoch, and gone on from; None for nothing.
        processes: this one and those that train the same model with it.

    Raises:
        ConfigError, SchemaError: the scorer cannot be built, or the checkpoint is of another
            training.
        HistoryError: the history is not sorted, is too short, or a period lacks a kind of label.
    """
    prepared = prepare(columns, labels, schema, config, progress)
    torch.manual_seed(config.seed)
    scorer = Scorer(schema, config.scorer)
    fit_scales(scorer, prepared.material, config.seed)
    learner = Learner(scorer, prepared.material, config, processes)
    best = Fitting(learner, progress, checkpoint).run()
    judged = _calibrated(best, prepared, config.calibration_prior)
    return TrainedScorer(
        scorer=best,
        schema=schema,
        config=config,
        thresholds=_thresholds(judged, config),
        facts=_facts(prepared, config) | what_it_ran_on(learner),
        metrics=ranking(judged.scores, judged.fraud),
        validation=judged,
        sample=first_events(best, columns, prepared.material.histories),
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """A history that a scorer can be trained on.

    Args:
        columns, labels, schema: the ``n`` events.
        periods: which of them train and which validate.
        material: their features.
    """

    columns: Columns
    labels: NDArray[np.float32]
    schema: Schema
    periods: Periods
    material: Material


def prepare(
    columns: Columns,
    labels: NDArray[np.float32],
    schema: Schema,
    config: TrainConfig,
    progress: Progress = _SILENT,
) -> Prepared:
    """Cut a history into periods and make its features, which need no weights.

    The arguments and errors are those of :func:`train`.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    periods = split(columns.event_time_ms, labels, config, columns.accounts)
    scorer = Scorer(schema, config.scorer)
    histories = by_account(account_hashes(columns, schema))
    delay_ms = round(config.label_delay_days * DAY_MS)
    table = feature_table(scorer, columns, histories, labels, delay_ms, progress.features)
    fresh = ~table.duplicate
    material = Material(
        histories,
        table.columns,
        torch.from_numpy(fresh),
        torch.from_numpy(np.nan_to_num(labels, nan=0.0)),
        Periods(periods.training & fresh, periods.validation),
    )
    return Prepared(columns, labels, schema, periods, material)


def fit_scales(scorer: Scorer, material: Material, seed: int) -> None:
    """Set the encoding, and the reference: the medians of the genuine events.

    The encoding is fitted on as many frauds as genuine events, so that it tells apart what only
    frauds have.
    """
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(material.periods.training)
    fraud = material.labels.numpy()[rows] > 0.5
    half = _SAMPLE // 2
    genuine = rng.choice(rows[~fraud], half)
    sample = material.columns[np.concatenate((genuine, rng.choice(rows[fraud], half)))]
    scorer.encoder.fit(sample.numpy())
    scorer.reference.copy_(torch.from_numpy(np.median(sample[:half].numpy(), axis=0)))


def _calibrated(best: Scorer, prepared: Prepared, prior: float) -> Judged:
    """Calibrate a scorer on the validation period, and return the events of that with scores."""
    labels, validation = prepared.labels, prepared.periods.validation
    logits = validation_logits(best, prepared.material)
    best.calibration.set(*fit_platt(logits.astype(np.float64), labels[validation] > 0.5, prior))
    scores = np.zeros(len(labels), dtype=np.float32)
    with torch.inference_mode():
        odds = best.calibration(torch.from_numpy(logits))
        scores[validation] = torch.sigmoid(odds).numpy()
    return judge(scores, labels, prepared.columns, schema=prepared.schema, keep=validation)


def _thresholds(judged: Judged, config: TrainConfig) -> Thresholds:
    return config.threshold_rule.choose(
        judged.scores, judged.fraud, judged.amounts, config.validation_days
    )


def first_events(scorer: Scorer, columns: Columns, histories: Histories) -> dict[str, NDArray[Any]]:
    """Return the first events of the longest histories, field to ``[accounts, T]``."""
    longest = np.argsort(-histories.lengths, kind="stable")[:_CHECKED_ACCOUNTS]
    steps = min(_CHECKED_STEPS, int(histories.lengths[longest].min()))
    rows = histories.order[histories.starts[longest][:, None] + np.arange(steps)]
    return {name: columns.values[name][rows] for name in scorer.inputs}


def what_it_ran_on(learner: Learner) -> dict[str, Any]:
    """Return what the training ran on, and for how many epochs."""
    processes = learner.processes
    return {
        "epochs": learner.epochs,
        "device": processes.device.type,
        "processes": processes.size,
        "precision": learner.precision.name,
    }


def _facts(prepared: Prepared, config: TrainConfig) -> dict[str, Any]:
    columns, labels, periods = prepared.columns, prepared.labels, prepared.periods
    facts: dict[str, Any] = {
        "events": len(columns),
        "accounts": len(prepared.material.histories.lengths),
        "first_event_ms": int(columns.event_time_ms[0]),
        "last_event_ms": int(columns.event_time_ms[-1]),
        "thresholds": config.threshold_rule.to_dict(),
    }
    for name, period in (("training", periods.training), ("validation", periods.validation)):
        times = columns.event_time_ms[period]
        facts[name] = {
            "from_ms": int(times[0]),
            "to_ms": int(times[-1]),
            "events": int(period.sum()),
            "positives": int((labels[period] > 0.5).sum()),
        }
    return facts
