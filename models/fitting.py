"""The epochs of a training one after the other, until one more would not help."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from typing import Any

from engine.errors import ConfigError
from models.checkpoint import Checkpoint
from models.learner import Learner
from models.progress import Progress
from models.scorer import Scorer


class Fitting:
    """A learner, the best model that it has come to, and what is kept of both.

    Args:
        learner: goes over the epochs.
        progress: is told of them.
        checkpoint: where each epoch is kept; None for nowhere.

    Attributes:
        best_worth: what the best epoch so far is worth (:meth:`models.learner.Learner.worth`).
        best_figures: its figures.

    Raises:
        ConfigError: there is a checkpoint, and it is none of this training.
    """

    def __init__(
        self, learner: Learner, progress: Progress, checkpoint: Checkpoint | None = None
    ) -> None:
        self.learner, self.progress, self.checkpoint = learner, progress, checkpoint
        self._best = deepcopy(learner.averaged)
        self.best_worth, self._since = -math.inf, 0
        self.best_figures: Mapping[str, float] = {}
        kept = checkpoint.read() if checkpoint is not None else None
        if kept is not None:
            self._restore(kept)

    def run(self) -> Scorer:
        """Go over the epochs that are left, and return the average of the best one, on the CPU."""
        config = self.learner.config
        while self.learner.epochs < config.epochs and self._since < config.patience:
            number = self.learner.epochs + 1
            loss = self.learner.epoch(partial(self.progress.batch, number))
            figures = self.learner.figures()
            self._weigh(figures)
            self._keep()
            self.progress.epoch(number, {"loss": loss, **figures})
        return self._best.cpu().eval()

    def _weigh(self, figures: Mapping[str, float]) -> None:
        self._since += 1
        worth = self.learner.worth(figures)
        if worth > self.best_worth:
            self._best = deepcopy(self.learner.averaged)
            self.best_worth, self.best_figures, self._since = worth, figures, 0

    def _keep(self) -> None:
        if self.checkpoint is None or not self.learner.processes.first:
            return
        told = {
            "learner": self.learner.state(),
            "best": self._best.state_dict(),
            "best_worth": self.best_worth,
            "best_figures": dict(self.best_figures),
            "since": self._since,
        }
        try:
            self.checkpoint.write(told)
        except OSError as error:
            self.progress.not_kept(error)

    def _restore(self, kept: Mapping[str, Any]) -> None:
        try:
            self.learner.restore(kept["learner"])
            self._best.load_state_dict(kept["best"])
        except (KeyError, RuntimeError, ValueError) as error:
            first = str(error).split("\n", 1)[0]
            raise ConfigError(
                f"a checkpoint must fit the model, however: {first}; give --restart to begin anew"
            ) from None
        self.best_worth, self._since = kept["best_worth"], kept["since"]
        self.best_figures = kept["best_figures"]
        self.progress.resumed(self.learner.epochs)
