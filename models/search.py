"""A search for better settings of a training, judged on its validation period only.

By Optuna (Akiba et al., 2019, arXiv:1907.10902): a tree-structured Parzen estimator proposes
settings, trials that fall behind the others' median are ended early, and every trial is kept in a
SQLite file, from which an interrupted search goes on. The pack's own settings are tried first, so
far as they lie in the space.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from sqlalchemy.exc import SQLAlchemyError

from engine.errors import ConfigError
from models.checkpoint import data_digest
from models.config import TrainConfig
from models.fitting import Fitting
from models.learner import Learner
from models.processes import ALONE, Processes
from models.progress import Progress
from models.scorer import Scorer
from models.search_space import Space
from models.training import Prepared, fit_scales

#: Trials before any is ended early, and epochs of each that are never cut.
_STARTUP, _LEAST_EPOCHS = 5, 2

_SILENT = Progress()

_DONE = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)


@dataclass(frozen=True, slots=True)
class Found:
    """A trial: its number, the settings, the average precision; None where it was ended early."""

    number: int
    settings: Mapping[str, Any]
    average_precision: float | None


class Search:
    """A study of one family's settings on one history.

    Args:
        prepared: the history with its features.
        config: the settings that are not searched, and those that are tried first.
        space: what is searched.
        path: the SQLite file; made where it is not there.
        processes: on whose device the trials train.

    Raises:
        ConfigError: the file is of other data, settings or another space, or is no study.
    """

    def __init__(
        self,
        prepared: Prepared,
        config: TrainConfig,
        space: Space,
        path: Path,
        processes: Processes = ALONE,
    ) -> None:
        self._prepared, self._config, self._space = prepared, config, space
        self._processes = processes
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = _study(config, path)
        about = {
            "data": data_digest(prepared.columns, prepared.labels, prepared.schema),
            "settings": json.dumps(config.to_dict(), sort_keys=True, default=str),
            "space": json.dumps(space.to_dict(), sort_keys=True),
        }
        _check(self._study, about, path)
        if not self._study.trials:
            self._study.enqueue_trial(space.parameters(config))

    @property
    def done(self) -> int:
        """How many trials are done."""
        return len(self._study.get_trials(deepcopy=False, states=_DONE))

    def run(
        self, trials: int, on_trial: Callable[[Found], None], progress: Progress = _SILENT
    ) -> None:
        """Go on until so many trials are done.

        Args:
            trials: how many, with those that were done before.
            on_trial: is told of each.
            progress: is told of each one's epochs.
        """
        while self.done < trials:
            trial = self._study.ask()
            settings = self._space.drawn(trial)
            try:
                figure: float | None = self._fitted(trial, settings, progress)
            except optuna.TrialPruned:
                figure = None
                self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                self._study.tell(trial, figure)
            on_trial(Found(trial.number, settings, figure))

    def best(self, count: int = 5) -> list[Found]:
        """Return the best trials, the best first."""
        states = (optuna.trial.TrialState.COMPLETE,)
        trials = self._study.get_trials(deepcopy=False, states=states)
        ranked = sorted(trials, key=lambda each: -(each.value or 0.0))[:count]
        return [
            Found(each.number, self._space.drawn(_Fixed(each.params)), each.value)
            for each in ranked
        ]

    def _fitted(
        self, trial: optuna.trial.Trial, settings: Mapping[str, Any], progress: Progress
    ) -> float:
        config = self._config.with_family(self._config.scorer.cell.name, settings)
        material = self._prepared.material
        torch.manual_seed(config.seed)
        scorer = Scorer(self._prepared.schema, config.scorer)
        fit_scales(scorer, material, config.seed)
        learner = Learner(scorer, material, config, self._processes)
        fitting = Fitting(learner, _Pruning(trial, progress))
        fitting.run()
        return fitting.best_worth


class _Pruning(Progress):
    """Ends a trial that falls behind, and tells another progress of it meanwhile."""

    def __init__(self, trial: optuna.trial.Trial, progress: Progress) -> None:
        self._trial, self._progress = trial, progress

    def batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        """See :class:`models.progress.Progress`."""
        self._progress.batch(epoch, done, total, loss)

    def epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """See :class:`models.progress.Progress`."""
        self._progress.epoch(epoch, figures)
        self._trial.report(figures["average_precision"], epoch)
        if self._trial.should_prune():
            raise optuna.TrialPruned


class _Fixed:
    """A trial whose parameters are known."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return the number."""
        return float(self._params[name])

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Return the whole number."""
        return int(self._params[name])

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Return the value."""
        return self._params[name]


def _study(config: TrainConfig, path: Path) -> optuna.Study:
    """Open the study of a family, whose sampler goes on with draws that were not drawn before."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            study_name=config.scorer.cell.name,
            storage=f"sqlite:///{path}",
            load_if_exists=True,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(_STARTUP, _LEAST_EPOCHS),
        )
    except (OSError, SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        first = str(error).split("\n", 1)[0]
        raise ConfigError(
            f"a study must be a SQLite file of a search, or one to make, however: {path}: {first}"
        ) from None
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + len(study.trials))
    return study


def _check(study: optuna.Study, about: Mapping[str, str], path: Path) -> None:
    """Hold a study to what it was begun with, or say what it is begun with."""
    for name, value in about.items():
        known = study.user_attrs.get(name)
        if known is None:
            study.set_user_attr(name, value)
        elif known != value:
            raise ConfigError(
                f"a study must be gone on with the same {name}, however: {path} was begun with "
                "another; give another file with --study"
            )
