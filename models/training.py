"""Training a scorer on a history.

In the order it runs: the features of all events (once, they do not depend on the weights); the
scale of each; epochs over the accounts' histories in chunks, the cell's state carried from chunk
to chunk and gradients within one; after each epoch the average precision on the validation
period; then calibration, thresholds, and the reference of the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from engine.columns import Columns
from engine.manifest import Thresholds
from engine.schema import Schema
from models.calibration import fit_platt
from models.config import TrainConfig
from models.data import FeatureTable, Histories, account_hashes, by_account, feature_table
from models.evaluation.judged import Judged, judge
from models.features.base import DAY_MS
from models.learner import Learner, Material, validation_logits
from models.periods import Periods, split
from models.scorer import Scorer

#: Events whose features set the scales.
_SAMPLE = 100_000

#: Accounts and events of each that an exported graph is checked on.
_CHECKED_ACCOUNTS, _CHECKED_STEPS = 128, 48

#: Called after each epoch with its number, from 1, and its figures.
Progress = Callable[[int, Mapping[str, float]], None]


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
    on_progress: Progress | None = None,
) -> TrainedScorer:
    """Train a scorer on a history.

    Args:
        columns: ``n`` events sorted by time, none of them later than what may be known.
        labels: 1 fraud, 0 genuine, NaN unknown; float32 ``[n]``.
        schema: of these events.
        config: what is trained, and how.
        on_progress: is told of each epoch.

    Raises:
        ConfigError, SchemaError: the scorer cannot be built.
        HistoryError: the history is not sorted, is too short, or a period lacks a kind of label.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    periods = split(columns.event_time_ms, labels, config, columns.accounts)
    scorer = Scorer(schema, config.scorer)
    histories = by_account(account_hashes(columns, schema))
    delay_ms = round(config.label_delay_days * DAY_MS)
    table = feature_table(scorer, columns, histories, labels, delay_ms)
    material = _material(histories, table, labels, periods)
    fit_scales(scorer, material, config.seed)
    best = _fit(scorer, material, config, on_progress)
    logits = validation_logits(best, material)
    known = labels[periods.validation] > 0.5
    best.calibration.set(*fit_platt(logits.astype(np.float64), known))
    scores = np.zeros(len(columns), dtype=np.float32)
    scores[periods.validation] = _probabilities(best, logits)
    judged = judge(scores, labels, columns, schema=schema, keep=periods.validation)
    return TrainedScorer(
        scorer=best,
        schema=schema,
        config=config,
        thresholds=_thresholds(judged, config),
        facts=_facts(columns, labels, periods, histories, config),
        metrics=_ranking(judged.scores, judged.fraud),
        validation=judged,
        sample=first_events(best, columns, histories),
    )


def _material(
    histories: Histories, table: FeatureTable, labels: NDArray[np.float32], periods: Periods
) -> Material:
    fresh = ~table.duplicate
    return Material(
        histories,
        table.columns,
        torch.from_numpy(fresh),
        torch.from_numpy(np.nan_to_num(labels, nan=0.0)),
        Periods(periods.training & fresh, periods.validation),
    )


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


def _fit(
    scorer: Scorer, material: Material, config: TrainConfig, on_progress: Progress | None
) -> Scorer:
    """Return the averaged model of the best epoch."""
    learner = Learner(scorer, material, config)
    best, best_figure, since = learner.averaged, -1.0, 0
    truth = material.labels.numpy()[material.periods.validation] > 0.5
    for epoch in range(1, config.epochs + 1):
        loss = learner.epoch()
        figures = _ranking(learner.validation_logits(), truth)
        if on_progress is not None:
            on_progress(epoch, {"loss": loss, **figures})
        since += 1
        if figures["average_precision"] > best_figure:
            best, best_figure, since = deepcopy(learner.averaged), figures["average_precision"], 0
        if since >= config.patience:
            break
    return best.eval()


def _probabilities(scorer: Scorer, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return torch.sigmoid(scorer.calibration(torch.from_numpy(logits))).numpy()


def _ranking(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> dict[str, float]:
    return {
        "auc_roc": float(roc_auc_score(truth, scores)),
        "average_precision": float(average_precision_score(truth, scores)),
    }


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


def _facts(
    columns: Columns,
    labels: NDArray[np.float32],
    periods: Periods,
    histories: Histories,
    config: TrainConfig,
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "events": len(columns),
        "accounts": len(histories.lengths),
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
