"""The epochs of a training: windows of events in, better weights out.

The encoding of the features has no weights, so it is made once, not in each epoch. The random
choices of an epoch depend on the seed, the epoch's number and the process's rank alone: a training
that goes on after an epoch needs no generator's state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn

from models.config import TrainConfig
from models.data import Chunk, Histories, walks
from models.objective import weighted_loss
from models.periods import Periods
from models.precision import Precision
from models.processes import ALONE, Processes
from models.sampling import batches, cut, starting_states
from models.schedule import learning_rate_at, momentum_at
from models.scorer import Scorer

#: Accounts and steps of a chunk when nothing is learnt.
_WIDE, _LONG = 1024, 64

#: Events that are encoded at once; more do not fit the processor's caches.
_SLICE = 4096

#: Every so many batches the progress is told.
_TOLD = 20

#: Is told how many batches of an epoch are done, of how many, and the mean loss of the last ones.
OnBatch: TypeAlias = Callable[[int, int, float], None]

_CPU = torch.device("cpu")

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


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the network reads of the rows, on its device; see :class:`Material`."""

    encoded: Tensor
    fresh: Tensor
    labels: Tensor


class Learner:
    """The model, its moving average, the optimizer and its schedule.

    Args:
        scorer: is moved to the processes' device and trained in place. Its encoding must have
            been fitted.
        material: what it is trained on.
        config: how.
        processes: this one and those that train it too.

    Attributes:
        averaged: the moving average of the weights, in evaluation mode.
        epochs: how many are done.
        precision: in what the network computes.
    """

    def __init__(
        self,
        scorer: Scorer,
        material: Material,
        config: TrainConfig,
        processes: Processes = ALONE,
    ) -> None:
        self.scorer, self.material, self.config = scorer.to(processes.device), material, config
        self.processes = processes
        self.averaged = deepcopy(scorer).eval()
        self.epochs, self.updates = 0, 0
        self.precision = Precision(config.precision, processes.device)
        self.optimizer = torch.optim.AdamW(
            scorer.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._rows = _rows(scorer, material, processes.device)
        last = int(np.flatnonzero(material.periods.training)[-1])
        self._taught = material.histories.until(last + 1)
        self._weights = [each.detach() for each in scorer.parameters()]
        self._averages = [each.detach() for each in self.averaged.parameters()]

    def epoch(self, on_batch: OnBatch | None = None) -> float:
        """Go over the training events once.

        Args:
            on_batch: is told every now and then how many batches are done, of how many, and the
                mean loss of the last ones.

        Returns:
            The mean loss.
        """
        rng = self._seeded()
        drawn = self.drawn(rng)
        windows = cut(self._taught, self.config.steps, rng)
        states = starting_states(
            self.averaged, windows, self._rows.encoded, self._rows.fresh, self.processes
        )
        wanted = windows.with_any(drawn.numpy() > 0)
        drawn = drawn.to(self.processes.device)
        plan = batches(wanted, self.config.windows, rng, self.processes.share)
        self.scorer.train()
        losses = []
        for at, places in enumerate(plan):
            self._set_schedule((self.epochs + at / len(plan)) / self.config.epochs)
            chunk = windows.chunk(places).to(self.processes.device)
            losses.append(self._learn(chunk, states[places], drawn))
            if on_batch is not None and (at + 1) % _TOLD == 0:
                on_batch(at + 1, len(plan), float(torch.stack(losses[-_TOLD:]).mean()))
        self.epochs += 1
        return float(self.processes.add_up(torch.stack(losses)).mean())

    def validation_logits(self) -> NDArray[np.float32]:
        """Return the average's log-odds of the validation events, before calibration; float32."""
        return _logits(self.averaged, self.material, self._rows, self.processes)

    def figures(self) -> dict[str, float]:
        """Return the average's figures on the validation events."""
        truth = self.material.labels.numpy()[self.material.periods.validation] > 0.5
        return ranking(self.validation_logits(), truth)

    def worth(self, figures: Mapping[str, float]) -> float:
        """Return by which of its figures an epoch is better than another: the higher one."""
        return figures["average_precision"]

    def state(self) -> dict[str, Any]:
        """Return all that going on after this epoch needs: tensors and plain values."""
        return {
            "epochs": self.epochs,
            "updates": self.updates,
            "scorer": self.scorer.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where :meth:`state` was taken. Raises ``RuntimeError`` for other weights."""
        self.epochs, self.updates = state["epochs"], state["updates"]
        self.scorer.load_state_dict(state["scorer"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"] and self.precision.scaler.is_enabled():
            self.precision.scaler.load_state_dict(state["scaler"])

    def loss(self, made: Tensor, rows: Tensor, weight: Tensor, total: Tensor) -> Tensor:
        """Return what is made small, for ``m`` events.

        Args:
            made: what each member gives, float ``[m, members]``.
            rows: the events' rows of the history, int64 ``[m]``.
            weight: float32 ``[m]``.
            total: the weight of the batch that these events are of, float32 ``[]``: it divides.
        """
        config, labels = self.config, self._rows.labels[rows]
        return weighted_loss(made, labels, weight, config.label_smoothing, config.focal, total)

    def drawn(self, rng: np.random.Generator) -> Tensor:
        """Return the events' weights in this epoch: 0 for those that are left out."""
        share = self.config.negatives
        fraud = self.material.labels.numpy() > 0.5
        kept = fraud | (rng.random(len(fraud)) < share)
        weight = np.where(fraud, 1.0, 1.0 / share) * (kept & self.material.periods.training)
        return torch.from_numpy(weight.astype(np.float32)) * self.material.fresh

    def _seeded(self) -> np.random.Generator:
        """Return this epoch's generator, the same for all, and seed PyTorch's, each its own."""
        rng = np.random.default_rng([self.config.seed, self.epochs])
        torch.manual_seed(int(rng.integers(1 << 62)) + self.processes.rank)
        return rng

    def _set_schedule(self, done: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * learning_rate_at(done, self.config.rise)
            group["betas"] = (momentum_at(done, self.config.rise), group["betas"][1])

    def _learn(self, chunk: Chunk, h: Tensor, drawn: Tensor) -> Tensor:
        """Take one step, from the cell's state ``h [A, state_size]``.

        Returns:
            The loss; this process's part of it where there are several.
        """
        loss, scaler = self._loss(chunk, h, drawn), self.precision.scaler
        self.optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.processes.add_up_gradients(self.scorer.parameters())
        scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.scorer.parameters(), self.config.clip)
        scaler.step(self.optimizer)
        scaler.update()
        self._average()
        return loss.detach()

    def _loss(self, chunk: Chunk, h: Tensor, drawn: Tensor) -> Tensor:
        valid = chunk.valid & self._rows.fresh[chunk.rows]
        weight = drawn[chunk.rows] * valid
        chosen = weight > 0
        with self.precision.autocast():
            encoded = drop_columns(self._rows.encoded[chunk.rows], self.config.feature_dropout)
            inputs, _ = self.scorer.encoded_sequence(encoded, h, valid)
            made = self.scorer.head.members(inputs[chosen])
        total = self.processes.add_up(weight[chosen].sum())
        return self.loss(made, chunk.rows[chosen], weight[chosen], total)

    def _average(self) -> None:
        """Move the average towards the weights, faster in the beginning."""
        self.updates += 1
        decay = min(self.config.average, self.updates / (self.updates + _FORGET))
        torch._foreach_lerp_(self._averages, self._weights, 1.0 - decay)


def _rows(scorer: Scorer, material: Material, device: torch.device) -> _Rows:
    encoded = encode(scorer, material.columns, device)
    return _Rows(encoded, material.fresh.to(device), material.labels.to(device))


def encode(scorer: Scorer, columns: Tensor, device: torch.device = _CPU) -> Tensor:
    """Return the encoded features on the scorer's device: float32 ``[n, f]`` to ``[n, 2 f]``."""
    encoded = torch.empty(len(columns), scorer.encoder.output_size, device=device)
    with torch.no_grad():
        for at in range(0, len(columns), _SLICE):
            encoded[at : at + _SLICE] = scorer.encoder(columns[at : at + _SLICE].to(device))
    return encoded


def ranking(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> dict[str, float]:
    """Return the area under the ROC and the average precision, of frauds and genuine events."""
    return {
        "auc_roc": float(roc_auc_score(truth, scores)),
        "average_precision": float(average_precision_score(truth, scores)),
    }


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
    """Return the validation events' log-odds before calibration, float32, in their order.

    Args:
        scorer: on the CPU.
        material: what has them.
    """
    return _logits(scorer, material, _rows(scorer, material, _CPU), ALONE)


def _logits(
    scorer: Scorer, material: Material, rows: _Rows, processes: Processes
) -> NDArray[np.float32]:
    device = processes.device
    wanted = torch.from_numpy(material.periods.validation)
    on_device = wanted.to(device)
    logits = torch.zeros(len(wanted), device=device)
    with torch.inference_mode():
        for walk in walks(material.histories, _WIDE, _LONG, processes.share):
            h = torch.zeros(0)
            for each in walk:
                chunk = each.to(device)
                size = len(chunk.rows), scorer.cell.state_size
                h = h if len(h) else torch.zeros(size, device=device)
                valid = chunk.valid & rows.fresh[chunk.rows]
                inputs, h = scorer.encoded_sequence(rows.encoded[chunk.rows], h, valid)
                chosen = chunk.valid & on_device[chunk.rows]
                logits[chunk.rows[chosen]] = scorer.head(inputs[chosen])[:, 0]
    return processes.add_up(logits)[on_device].cpu().numpy()
