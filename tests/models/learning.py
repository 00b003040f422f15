"""A learner on features that are made up: the epochs of a training without its history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from engine.columns import Columns
from models.data import account_hashes, by_account
from models.learner import Learner, Material
from models.periods import Periods
from models.processes import ALONE, Processes
from models.progress import Progress
from models.scorer import Scorer
from models.training import fit_scales
from tests.models.tools import SCHEMA, planted_history, scorer_config, train_config

History: TypeAlias = tuple[Columns, NDArray[np.float32]]


def small_history() -> History:
    return planted_history(accounts=40, days=30)


def learner_of(
    history: History, processes: Processes = ALONE, family: str = "gru", **settings: object
) -> Learner:
    """A learner on random features, one of which tells the frauds; the last fifth validates."""
    columns, labels = history
    scorer_settings = scorer_config(family)
    config = train_config(**{"windows": 8, "steps": 10, "scorer": scorer_settings, **settings})
    torch.manual_seed(config.seed)
    scorer = Scorer(SCHEMA, config.scorer)
    features = torch.from_numpy(
        np.random.default_rng(1).normal(size=(len(labels), len(scorer.outputs))).astype(np.float32)
    )
    features[:, 0] += torch.from_numpy(labels) * 3.0
    late = np.arange(len(labels)) > 0.8 * len(labels)
    material = Material(
        by_account(account_hashes(columns, SCHEMA)),
        features,
        torch.ones(len(labels), dtype=torch.bool),
        torch.from_numpy(labels),
        Periods(~late, late),
    )
    fit_scales(scorer, material, config.seed)
    return Learner(scorer, material, config, processes)


def weights(learner: Learner) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for each in learner.scorer.parameters()])


class Told(Progress):
    """Remembers what it was told; ends the program after an epoch, if it is to."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.epochs: list[int] = []
        self.figures: list[Mapping[str, float]] = []
        self.resumed_after: int | None = None
        self.features_done = (0, 0)
        self.errors: list[OSError] = []

    def features(self, done: int, total: int) -> None:
        self.features_done = (done, total)

    def resumed(self, epochs: int) -> None:
        self.resumed_after = epochs

    def epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        self.epochs.append(epoch)
        self.figures.append(figures)
        if epoch == self.stop_after:
            raise KeyboardInterrupt

    def not_kept(self, error: OSError) -> None:
        self.errors.append(error)
