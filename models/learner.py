"""The epochs of a training: windows of events in, better weights out.

The encoding of the features has no weights, so it is made once, not in each epoch. The random
choices of an epoch depend on the seed, the epoch's number and the process's rank alone: a training
that goes on after an epoch needs no generator's state.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.config import TrainConfig
from models.data import Chunk, Histories, walks
from models.objective import weighted_loss
from models.periods import Periods
from models.sampling import batches, cut, starting_states
from models.schedule import learning_rate_at, momentum_at
from models.scorer import Scorer

#: Accounts and steps of a chunk when nothing is learnt.
_WIDE, _LONG = 1024, 64

#: Events that are encoded at once; more do not fit the processor's caches.
_SLICE = 4096

#: The average forgets the first weights sooner than the last ones, over about this many updates.
_FORGET = 10


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
        scorer: is trained in place. Its encoding must have been fitted.
        material: what it is trained on.
        config: how.

    Attributes:
        averaged: the moving average of the weights, in evaluation mode.
        epochs: how many are done.
    """

    def __init__(self, scorer: Scorer, material: Material, config: TrainConfig) -> None:
        self.scorer, self.material, self.config = scorer, material, config
        self.averaged = deepcopy(scorer).eval()
        self.epochs, self.updates = 0, 0
        self.optimizer = torch.optim.AdamW(
            scorer.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._encoded = encode(scorer, material.columns)
        last = int(np.flatnonzero(material.periods.training)[-1])
        self._taught = material.histories.until(last + 1)
        self._weights = [each.detach() for each in scorer.parameters()]
        self._averages = [each.detach() for each in self.averaged.parameters()]

    def epoch(self) -> float:
        """Go over the training events once. Returns the mean loss."""
        rng = self._seeded()
        drawn = self.drawn(rng)
        windows = cut(self._taught, self.config.steps, rng)
        states = starting_states(self.averaged, windows, self._encoded, self.material.fresh)
        plan = batches(windows.with_any(drawn.numpy() > 0), self.config.windows, rng)
        self.scorer.train()
        losses = []
        for at, places in enumerate(plan):
            self._set_schedule((self.epochs + at / len(plan)) / self.config.epochs)
            losses.append(self._learn(windows.chunk(places), states[places], drawn))
        self.epochs += 1
        return float(torch.stack(losses).mean())

    def validation_logits(self) -> NDArray[np.float32]:
        """Return the average's log-odds of the validation events, before calibration; float32."""
        return _logits(self.averaged, self.material, self._encoded)

    def loss(self, made: Tensor, rows: Tensor, weight: Tensor) -> Tensor:
        """Return what is made small, for ``m`` events.

        Args:
            made: what each member gives, float ``[m, members]``.
            rows: the events' rows of the history, int64 ``[m]``.
            weight: float32 ``[m]``.
        """
        config, labels = self.config, self.material.labels[rows]
        return weighted_loss(made, labels, weight, config.label_smoothing, config.focal)

    def drawn(self, rng: np.random.Generator) -> Tensor:
        """Return the events' weights in this epoch: 0 for those that are left out."""
        share = self.config.negatives
        fraud = self.material.labels.numpy() > 0.5
        kept = fraud | (rng.random(len(fraud)) < share)
        weight = np.where(fraud, 1.0, 1.0 / share) * (kept & self.material.periods.training)
        return torch.from_numpy(weight.astype(np.float32)) * self.material.fresh

    def _seeded(self) -> np.random.Generator:
        """Return this epoch's generator, and seed PyTorch's."""
        rng = np.random.default_rng([self.config.seed, self.epochs])
        torch.manual_seed(int(rng.integers(1 << 62)))
        return rng

    def _set_schedule(self, done: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * learning_rate_at(done, self.config.rise)
            group["betas"] = (momentum_at(done, self.config.rise), group["betas"][1])

    def _learn(self, chunk: Chunk, h: Tensor, drawn: Tensor) -> Tensor:
        """Take one step, from the cell's state ``h [A, state_size]``. Returns the loss."""
        valid = chunk.valid & self.material.fresh[chunk.rows]
        weight = drawn[chunk.rows] * valid
        chosen = weight > 0
        with self._precision():
            encoded = drop_columns(self._encoded[chunk.rows], self.config.feature_dropout)
            inputs, _ = self.scorer.encoded_sequence(encoded, h, valid)
            made = self.scorer.head.members(inputs[chosen])
        loss = self.loss(made, chunk.rows[chosen], weight[chosen])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.scorer.parameters(), self.config.clip)
        self.optimizer.step()
        self._average()
        return loss.detach()

    def _precision(self) -> AbstractContextManager[Any]:
        wanted = self.config.precision == "bfloat16"
        return torch.autocast("cpu", torch.bfloat16, enabled=wanted)

    def _average(self) -> None:
        """Move the average towards the weights, faster in the beginning."""
        self.updates += 1
        decay = min(self.config.average, self.updates / (self.updates + _FORGET))
        torch._foreach_lerp_(self._averages, self._weights, 1.0 - decay)


def encode(scorer: Scorer, columns: Tensor) -> Tensor:
    """Return the encoded features: float32 ``[n, f]`` to ``[n, 2 f]``."""
    encoded = torch.empty(len(columns), scorer.encoder.output_size)
    with torch.no_grad():
        for at in range(0, len(columns), _SLICE):
            encoded[at : at + _SLICE] = scorer.encoder(columns[at : at + _SLICE])
    return encoded


def drop_columns(encoded: Tensor, share: float) -> Tensor:
    """Leave out features: each account of a chunk loses some of them in all of its steps.

    (One mask for all steps: Gal & Ghahramani, 2016, arXiv:1512.05287.)

    Args:
        encoded: float32 ``[A, T, 2 f]``, each feature in the two places of the encoding.
        share: how many are left out, in the mean; the others are made larger instead.
    """
    if share == 0.0:
        return encoded
    accounts, _, width = encoded.shape
    kept = torch.rand(accounts, 1, width // 2, device=encoded.device) >= share
    return encoded * (torch.cat((kept, kept), dim=2) / (1.0 - share))


def validation_logits(scorer: Scorer, material: Material) -> NDArray[np.float32]:
    """Return the validation events' log-odds before calibration, float32, in their order."""
    return _logits(scorer, material, encode(scorer, material.columns))


def _logits(scorer: Scorer, material: Material, encoded: Tensor) -> NDArray[np.float32]:
    wanted = torch.from_numpy(material.periods.validation)
    logits = torch.zeros(len(wanted))
    with torch.inference_mode():
        for walk in walks(material.histories, _WIDE, _LONG):
            h = torch.zeros(0)
            for chunk in walk:
                h = h if len(h) else torch.zeros(len(chunk.rows), scorer.cell.state_size)
                valid = chunk.valid & material.fresh[chunk.rows]
                inputs, h = scorer.encoded_sequence(encoded[chunk.rows], h, valid)
                chosen = chunk.valid & wanted[chunk.rows]
                logits[chunk.rows[chosen]] = scorer.head(inputs[chosen])[:, 0]
    return logits[wanted].numpy()
