"""The epochs of a training: sequences of events in, better weights out."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.config import TrainConfig
from models.data import Chunk, Histories, chunks
from models.scorer import Scorer

#: Accounts and steps of a chunk when nothing is learnt.
_WIDE, _LONG = 1024, 64


@dataclass(frozen=True, slots=True)
class Periods:
    """Which events train, and which validate; bool ``[n]`` each."""

    training: NDArray[np.bool_]
    validation: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Material:
    """All that the epochs need of a history of ``n`` events.

    Args:
        histories: its rows by account.
        columns: its features, float32 ``[n, f]``.
        fresh: which rows are no repeats, bool ``[n]``.
        labels: 1 fraud, else 0, float32 ``[n]``.
        periods: which rows train and which validate.
    """

    histories: Histories
    columns: Tensor
    fresh: Tensor
    labels: Tensor
    periods: Periods


class Learner:
    """The model, its moving average, the optimizer and its schedule.

    Args:
        scorer: is trained in place.
        material: what it is trained on.
        config: how.

    Attributes:
        averaged: the moving average of the weights, in evaluation mode.
    """

    def __init__(self, scorer: Scorer, material: Material, config: TrainConfig) -> None:
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

    def _chunks(self, rng: np.random.Generator | None) -> Iterator[Chunk]:
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
        valid = chunk.valid & material.fresh[chunk.rows]
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


def validation_logits(scorer: Scorer, material: Material) -> NDArray[np.float32]:
    """Return the validation events' log-odds before calibration, float32, in their order."""
    wanted = torch.from_numpy(material.periods.validation)
    logits = torch.zeros(len(wanted))
    h = torch.zeros(0)
    with torch.inference_mode():
        for chunk in chunks(material.histories, _WIDE, _LONG, None):
            if chunk.first:
                h = torch.zeros(len(chunk.rows), scorer.cell.state_size)
            valid = chunk.valid & material.fresh[chunk.rows]
            inputs, h = scorer.forward_sequence(material.columns[chunk.rows], h, valid)
            chosen = chunk.valid & wanted[chunk.rows]
            logits[chunk.rows[chosen]] = scorer.head(inputs[chosen])[:, 0]
    return logits[wanted].numpy()
