"""Trains one epoch for :mod:`tests.models.test_processes`; ``torchrun`` starts several of it."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import torch

from models.processes import joined
from tests.models.learning import learner_of, weights
from tests.models.tools import planted_history

#: How many windows are in a batch: some for everyone, and one, of which all but one get none.
WINDOWS = (31, 1)


def main(file: Path, families: list[str]) -> None:
    found = {}
    with joined("cpu") as processes:
        for family, windows in product(families, WINDOWS):
            history = planted_history(accounts=40 if windows > 1 else 8, days=30)
            learner = learner_of(history, processes, family, epochs=2, windows=windows)
            loss = learner.epoch()
            logits = torch.from_numpy(learner.validation_logits())
            told = {"loss": loss, "logits": logits, "weights": weights(learner)}
            found[f"{family} {windows}"] = told
        found["size"] = processes.size
    left = [name for name in threads() if "gloo" in name]
    if left:
        raise SystemExit(f"threads that were left: {left}")
    if processes.first:
        torch.save(found, file)


def threads() -> list[str]:
    """Names of this process's threads, those of libraries too."""
    return [each.read_text().strip() for each in Path("/proc/self/task").glob("*/comm")]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2:])
