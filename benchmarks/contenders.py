"""What is judged on the folds: the scorer's families, and other models on its features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from benchmarks.handbook import Flags, Floats, Fold
from engine.bundle import Bundle
from engine.device import Device
from engine.manifest import Manifest, Thresholds
from engine.schema import Schema
from engine.timing import time_graph
from export.graph import export_model
from models.calibration import fit_platt
from models.config import TrainConfig
from models.data import account_hashes, by_account
from models.evaluation.baselines import baselines
from models.learner import Learner, Material, validation_logits
from models.periods import Periods
from models.scorer import Scorer
from models.training import fit_scales

#: The last days of the training, which calibrate what was trained on them: nothing later may.
CALIBRATION_DAYS = 14.0


class Contender(ABC):
    """A way to score a fold's judged events."""

    name: str
    settings: Mapping[str, Any]
    probabilities = True

    @abstractmethod
    def scores(self, fold: Fold) -> Floats:
        """Train on the fold, and return the judged events' scores, float32 ``[judged]``."""

    def graph(self) -> Mapping[str, Any]:
        """Return what is known of the graph of the last fold's model; nothing if it has none."""
        return {}


class Amount(Contender):
    """The dumb baseline: the larger the amount, the more suspicious."""

    name = "amount alone"
    settings: Mapping[str, Any] = MappingProxyType({})
    probabilities = False

    def scores(self, fold: Fold) -> Floats:
        """Return the amounts, which are no probabilities."""
        values: Floats = fold.events.values["amount"]
        return values[fold.judged]


class Baseline(Contender):
    """One of :func:`models.evaluation.baselines.baselines`."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.settings = name, {"seed": seed}

    def scores(self, fold: Fold) -> Floats:
        """Train on the features, event by event."""
        found = baselines(
            fold.features.numpy(),
            fold.labels > 0.5,
            fold.training,
            fold.judged,
            self.settings["seed"],
            names=[self.name],
        )
        return found[self.name]


class Family(Contender):
    """The pack's scorer with one family of cell, for all its epochs, calibrated.

    Args:
        config: how it is trained.
        schema: of the events.
    """

    def __init__(self, config: TrainConfig, schema: Schema) -> None:
        self.config, self.schema = config, schema
        self.name = config.scorer.cell.name
        told = config.to_dict()
        self.settings = {name: value for name, value in told.items() if name != "threads"}
        self._last: Scorer | None = None

    def scores(self, fold: Fold) -> Floats:
        """Train, calibrate on the last days of the training, and score."""
        torch.manual_seed(self.config.seed)
        calibrating = fold.last_of_training(CALIBRATION_DAYS)
        material = self._material(fold, calibrating | fold.judged)
        scorer = Scorer(self.schema, self.config.scorer)
        fit_scales(scorer, material, self.config.seed)
        learner = Learner(scorer, material, self.config)
        for _ in range(self.config.epochs):
            learner.epoch()
        best = learner.averaged
        logits = np.zeros(len(fold.events), dtype=np.float32)
        logits[calibrating | fold.judged] = validation_logits(best, material)
        known = fold.labels[calibrating] > 0.5
        best.calibration.set(*fit_platt(logits[calibrating].astype(np.float64), known))
        self._last = best
        with torch.inference_mode():
            odds = best.calibration(torch.from_numpy(logits[fold.judged]))
            found: Floats = torch.sigmoid(odds).numpy()
        return found

    def graph(self) -> Mapping[str, Any]:
        """Export the last fold's model, and time the graph on one thread of the processor."""
        assert self._last is not None
        model = export_model(self._last, self.schema)
        provider, times = time_graph(_bundle(self._last, self.schema, model), Device.CPU)
        return {
            "bytes": len(model),
            "provider": provider,
            "us_per_event": {str(each.batch): round(each.us_per_event, 2) for each in times},
            "state_bytes": self._last.layout.nbytes,
        }

    def _material(self, fold: Fold, wanted: Flags) -> Material:
        return Material(
            histories=by_account(account_hashes(fold.events, self.schema)),
            columns=fold.features,
            fresh=torch.ones(len(fold.events), dtype=torch.bool),
            labels=torch.from_numpy(fold.labels),
            periods=Periods(fold.training, wanted),
        )


def _bundle(scorer: Scorer, schema: Schema, model: bytes) -> Bundle:
    """Return a bundle that is good for timing its graph."""
    manifest = Manifest(
        name="timed",
        version="1",
        pack=scorer.config.pack,
        family=scorer.config.cell.name,
        created="",
        schema=schema,
        state=scorer.layout,
        thresholds=Thresholds(1.0, 1.0),
        reasons=scorer.reasons,
        shared=scorer.shared,
    )
    return Bundle(manifest, digest="", model=model, reasons=b"")
