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
from torch import Tensor, nn

from engine.columns import Columns
from engine.errors import HistoryError
from engine.manifest import Thresholds
from engine.schema import Schema
from models.calibration import choose_thresholds, fit_platt
from models.config import TrainConfig
from models.data import (
    Chunk,
    FeatureTable,
    Histories,
    account_hashes,
    by_account,
    chunks,
    feature_table,
)
from models.features.base import DAY_MS
from models.scorer import Scorer

#: Events whose features set the scales.
_SAMPLE = 200_000
#: Accounts and steps of a chunk when nothing is learnt.
_WIDE, _LONG = 1024, 64

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
    """

    scorer: Scorer
    schema: Schema
    config: TrainConfig
    thresholds: Thresholds
    facts: Mapping[str, Any]
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Periods:
    """Which events train, and which validate; bool ``[n]`` each."""

    training: NDArray[np.bool_]
    validation: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Material:
    histories: Histories
    columns: Tensor
    valid_row: Tensor
    labels: Tensor
    periods: Periods


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
    periods = split(columns.event_time_ms, labels, config)
    scorer = Scorer(schema, config.scorer)
    histories = by_account(account_hashes(columns, schema))
    table = feature_table(scorer, columns, histories)
    material = _material(histories, table, labels, periods)
    _fit_scales(scorer, material, config.seed)
    best = _fit(scorer, material, config, on_progress)
    logits = _validation_logits(best, material)
    known = labels[periods.validation] > 0.5
    best.calibration.set(*fit_platt(logits.astype(np.float64), known))
    scores = _probabilities(best, logits)
    thresholds = choose_thresholds(
        scores,
        known,
        review_share=config.review_share,
        decline_precision=config.decline_precision,
    )
    facts = _facts(columns, labels, periods, histories)
    return TrainedScorer(best, schema, config, thresholds, facts, _ranking(scores, known))


def split(
    event_time_ms: NDArray[np.int64], labels: NDArray[np.float32], config: TrainConfig
) -> Periods:
    """Cut a history by time: warm-up, training, a gap of the labels' delay, validation.

    Raises:
        HistoryError: it is not sorted by time, or a period has no fraud or no genuine event.
    """
    if len(event_time_ms) == 0 or (np.diff(event_time_ms) < 0).any():
        raise HistoryError("a history must be sorted by time and not empty; sort it by event time")
    end = int(event_time_ms[-1]) + 1
    validate_from = end - round(config.validation_days * DAY_MS)
    train_until = validate_from - round(config.label_delay_days * DAY_MS)
    train_from = int(event_time_ms[0]) + round(config.warm_up_days * DAY_MS)
    known = ~np.isnan(labels)
    training = known & (event_time_ms >= train_from) & (event_time_ms < train_until)
    validation = known & (event_time_ms >= validate_from)
    for name, period in (("training", training), ("validation", validation)):
        kinds = np.unique(labels[period] > 0.5)
        if len(kinds) < 2:
            raise HistoryError(
                f"the {name} period must have frauds and genuine events, however: of its "
                f"{int(period.sum())} labelled events {int((labels[period] > 0.5).sum())} are "
                "frauds; give a longer history, or shorter periods in training.toml"
            )
    return Periods(training, validation)


def _material(
    histories: Histories, table: FeatureTable, labels: NDArray[np.float32], periods: Periods
) -> _Material:
    fresh = ~table.duplicate
    return _Material(
        histories,
        table.columns,
        torch.from_numpy(fresh),
        torch.from_numpy(np.nan_to_num(labels, nan=0.0)),
        Periods(periods.training & fresh, periods.validation),
    )


def _fit_scales(scorer: Scorer, material: _Material, seed: int) -> None:
    """Set the encoding, and the reference: the medians of the genuine events."""
    rows = np.flatnonzero(material.periods.training)
    rng = np.random.default_rng(seed)
    if len(rows) > _SAMPLE:
        rows = np.sort(rng.choice(rows, _SAMPLE, replace=False))
    sample = material.columns[rows]
    scorer.encoder.fit(sample.numpy())
    genuine = sample[material.labels[rows] < 0.5]
    scorer.reference.copy_(torch.from_numpy(np.median(genuine.numpy(), axis=0)))


def _fit(
    scorer: Scorer, material: _Material, config: TrainConfig, on_progress: Progress | None
) -> Scorer:
    """Return the averaged model of the best epoch."""
    learner = _Learner(scorer, material, config)
    best, best_figure, since = learner.averaged, -1.0, 0
    truth = material.labels.numpy()[material.periods.validation] > 0.5
    for epoch in range(1, config.epochs + 1):
        loss = learner.epoch()
        figures = _ranking(_validation_logits(learner.averaged, material), truth)
        if on_progress is not None:
            on_progress(epoch, {"loss": loss, **figures})
        since += 1
        if figures["average_precision"] > best_figure:
            best, best_figure, since = deepcopy(learner.averaged), figures["average_precision"], 0
        if since >= config.patience:
            break
    return best.eval()


class _Learner:
    """The model, its moving average, the optimizer and its schedule."""

    def __init__(self, scorer: Scorer, material: _Material, config: TrainConfig) -> None:
        self.scorer, self.material, self.config = scorer, material, config
        self.averaged = deepcopy(scorer).eval()
        self.rng = np.random.default_rng(config.seed)
        self.optimizer = torch.optim.AdamW(
            scorer.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        per_epoch = sum(1 for _ in self._chunks(None))
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=config.learning_rate,
            total_steps=per_epoch * config.epochs + 1,
            pct_start=config.rise,
        )
        self.updates = 0

    def epoch(self) -> float:
        """Go over the training events once. Returns the mean loss."""
        self.scorer.train()
        drawn = self._drawn()
        losses, h = [], None
        for chunk in self._chunks(self.rng):
            if chunk.first or h is None:
                h = torch.zeros(len(chunk.rows), self.scorer.cell.state_size)
            loss, h = self._learn(chunk, h, drawn)
            losses.append(loss)
        return float(np.nanmean(losses))

    def _chunks(self, rng: np.random.Generator | None) -> Any:
        return chunks(self.material.histories, self.config.accounts, self.config.steps, rng)

    def _drawn(self) -> Tensor:
        """Return the events' weights in this epoch: 0 for those that are left out."""
        share = self.config.negatives
        fraud = self.material.labels.numpy() > 0.5
        kept = fraud | (self.rng.random(len(fraud)) < share)
        weight = np.where(fraud, 1.0, 1.0 / share) * (kept & self.material.periods.training)
        return torch.from_numpy(weight.astype(np.float32))

    def _learn(self, chunk: Chunk, h: Tensor, drawn: Tensor) -> tuple[float, Tensor]:
        """Take one step. Returns the loss (NaN if nothing was learnt) and the state after."""
        material = self.material
        valid = chunk.valid & material.valid_row[chunk.rows]
        weight = drawn[chunk.rows] * valid
        chosen = weight > 0
        with torch.set_grad_enabled(bool(chosen.any())):
            inputs, h = self.scorer.forward_sequence(material.columns[chunk.rows], h, valid)
        if not chosen.any():
            return float("nan"), h
        logit = self.scorer.head(inputs[chosen])[:, 0]
        each = nn.functional.binary_cross_entropy_with_logits(
            logit, material.labels[chunk.rows][chosen], reduction="none"
        )
        loss = (each * weight[chosen]).sum() / weight[chosen].sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.scorer.parameters(), self.config.clip)
        self.optimizer.step()
        self.schedule.step()
        self._average()
        return float(loss.detach()), h.detach()

    def _average(self) -> None:
        """Move the average towards the weights, faster in the beginning."""
        self.updates += 1
        decay = min(self.config.average, self.updates / (self.updates + 10))
        with torch.no_grad():
            pairs = zip(self.averaged.parameters(), self.scorer.parameters(), strict=True)
            for kept, weight in pairs:
                kept.lerp_(weight, 1.0 - decay)


def _validation_logits(scorer: Scorer, material: _Material) -> NDArray[np.float32]:
    """Return the log-odds before calibration of the validation events, in their order."""
    wanted = torch.from_numpy(material.periods.validation)
    logits = torch.zeros(len(wanted))
    h = torch.zeros(0)
    with torch.inference_mode():
        for chunk in chunks(material.histories, _WIDE, _LONG, None):
            if chunk.first:
                h = torch.zeros(len(chunk.rows), scorer.cell.state_size)
            valid = chunk.valid & material.valid_row[chunk.rows]
            inputs, h = scorer.forward_sequence(material.columns[chunk.rows], h, valid)
            chosen = chunk.valid & wanted[chunk.rows]
            logits[chunk.rows[chosen]] = scorer.head(inputs[chosen])[:, 0]
    return logits[wanted].numpy()


def _probabilities(scorer: Scorer, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return torch.sigmoid(scorer.calibration(torch.from_numpy(logits))).numpy()


def _ranking(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> dict[str, float]:
    return {
        "auc_roc": float(roc_auc_score(truth, scores)),
        "average_precision": float(average_precision_score(truth, scores)),
    }


def _facts(
    columns: Columns, labels: NDArray[np.float32], periods: Periods, histories: Histories
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "events": len(columns),
        "accounts": len(histories.lengths),
        "first_event_ms": int(columns.event_time_ms[0]),
        "last_event_ms": int(columns.event_time_ms[-1]),
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
