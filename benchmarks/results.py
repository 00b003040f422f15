"""The figures of an evaluation, kept fold by fold so that it can go on after an interruption."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

#: What is shown of each fold: the figure's name, and what a table calls it.
FIGURES = {
    "auc_roc": "AUC ROC",
    "average_precision": "AP",
    "card_precision_at_100": "CP@100",
    "calibration_error": "ECE",
    "seconds": "seconds",
    "cpu_seconds": "CPU s",
}


@dataclass(slots=True)
class Results:
    """What is known of each contender, as the file at ``path`` holds it.

    Args:
        path: a JSON file, rewritten whole after each fold.
        facts: what all figures depend on: the folds, the data, the features.
        about: what they do not depend on, for the reader: counts, times, versions.
        contenders: name to ``settings``, ``folds`` (day to figures) and ``graph``.
    """

    path: Path
    facts: Mapping[str, Any]
    about: dict[str, Any] = field(default_factory=dict)
    contenders: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, facts: Mapping[str, Any]) -> Results:
        """Read what is there if it is of these facts; begin anew otherwise."""
        if path.is_file():
            raw = orjson.loads(path.read_bytes())
            if raw["facts"] == as_json(facts):
                return cls(path, facts, raw["about"], raw["contenders"])
        return cls(path, facts)

    def missing(
        self, name: str, settings: Mapping[str, Any], starts: Sequence[str]
    ) -> Sequence[str]:
        """Return which folds are to be run; all of them if the settings have changed."""
        own = self.contenders.get(name)
        if own is None or own["settings"] != as_json(settings):
            own = self.contenders[name] = {"settings": as_json(settings), "folds": {}, "graph": {}}
        return [each for each in starts if each not in own["folds"]]

    def add(self, name: str, start: str, figures: Mapping[str, Any]) -> None:
        """Keep the figures of a fold."""
        self.contenders[name]["folds"][start] = dict(figures)
        self.save()

    def save(self) -> None:
        """Write the file, so that an interruption leaves the old one or the new one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        told = {"facts": self.facts, "about": self.about, "contenders": self.contenders}
        fresh.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")
        os.replace(fresh, self.path)

    def column(self, name: str, figure: str) -> list[float | None]:
        """Return one figure of a contender's folds, in the order of their days."""
        folds = self.contenders[name]["folds"]
        return [folds[start][figure] for start in sorted(folds)]


def mean_and_sd(values: Sequence[float | None]) -> tuple[float, float] | None:
    """Return both over the folds; None if a fold has no such figure, or there is no fold.

    >>> mean_and_sd([1.0, 3.0]), mean_and_sd([])
    ((2.0, 1.0), None)
    """
    known = [each for each in values if each is not None]
    if not known or len(known) < len(values):
        return None
    return float(np.mean(known)), float(np.std(known))


def as_json(values: Mapping[str, Any]) -> Any:
    """Return values as they come back from JSON, to compare them with what was kept."""
    return orjson.loads(orjson.dumps(dict(values)))
