"""How well the fraud pack's scorer finds the frauds of the Fraud Detection Handbook.

    python benchmarks/handbook_folds.py --data handbook-transactions.parquet
    python benchmarks/handbook_folds.py --data handbook-transactions.parquet --folds validation

The Handbook's protocol: four folds a week apart. A fold that starts at S trains on the events
before S + 7 days (here the 90 days before it, not 7), whose labels are known 7 days later, and is
judged on the days S + 14 to S + 20, without the cards known to be compromised by then: those with a
fraud since S on a day at least 8 days before. The features are made once, by the graph's own
modules, each label known 7 days after its event. Settings are chosen on the folds ``validation``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.columns import Columns
from engine.decode import Decoder, Limits
from engine.history import History
from models.config import TrainConfig, load_train_config
from models.data import account_hashes, by_account, feature_table
from models.evaluation import compromised, evaluate
from models.evaluation.baselines import new_trees
from models.features.base import DAY_MS
from models.learner import Learner, Material, validation_logits
from models.packs.registry import load_schema, pack_folder
from models.periods import Periods
from models.scorer import Scorer
from models.training import fit_scales

FIRST = {"test": "2018-07-25", "validation": "2018-07-11"}
STEP_DAYS = {"test": 7, "validation": -7}
FOLDS = 4
LABEL_DELAY_DAYS = 7
FIGURES = ("auc_roc", "average_precision", "card_precision_at_100")
PATHS = {
    "event_id": "TRANSACTION_ID",
    "event_time": "TX_DATETIME",
    "account": "CUSTOMER_ID",
    "terminal": "TERMINAL_ID",
    "amount": "TX_AMOUNT",
    "fraud": "TX_FRAUD",
}

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Table:
    """The events, their labels, and their features, ``n`` rows each."""

    events: Columns
    labels: Floats
    columns: torch.Tensor
    scorer: Scorer


@dataclass(frozen=True, slots=True)
class Fold:
    """The rows of a fold, and which of them train and which are judged: bool ``[rows]`` each."""

    events: Columns
    labels: Floats
    columns: torch.Tensor
    training: NDArray[np.bool_]
    judged: NDArray[np.bool_]


def main() -> int:
    args = options()
    if not args.data.is_file():
        print(f"skipped: {args.data} is not there; give the Handbook's transactions with --data")
        return 0
    torch.set_num_threads(args.threads)
    config = configuration(args)
    table = load(args.data, config)
    kinds: dict[str, Callable[[Fold], Floats]] = {"amount alone": lambda fold: amounts(fold)}
    if "trees" in args.models:
        kinds["boosted trees"] = lambda fold: trees(fold, config.seed)
    if "scorer" in args.models:
        kinds[f"scorer, {config.scorer.cell.name}"] = lambda fold: scored(fold, table, config)
    first = np.datetime64(FIRST[args.folds], "ms").astype(np.int64)
    starts = [int(first) + at * STEP_DAYS[args.folds] * DAY_MS for at in range(FOLDS)]
    print(f"\n{args.folds} folds, {args.back_days} days of training, seed {config.seed}")
    print(f"{'':16}{'fold':>12}{'AUC ROC':>9}{'AP':>8}{'CP@100':>8}{'seconds':>9}", flush=True)
    folds = [fold_of(table, start, args.back_days) for start in starts]
    for name, score in kinds.items():
        report(name, starts, folds, score)
    return 0


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Judge the fraud pack by the Handbook's protocol.")
    parser.add_argument("--data", type=Path, default=Path("handbook-transactions.parquet"))
    parser.add_argument("--folds", choices=sorted(FIRST), default="test")
    parser.add_argument("--models", nargs="+", choices=["scorer", "trees"], default=["scorer"])
    parser.add_argument("--family", help="the sequence cell, instead of the pack's")
    parser.add_argument("--back-days", type=int, default=90)
    parser.add_argument("--threads", type=int, default=min(os.cpu_count() or 1, 8))
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="of a training, or dropout"
    )
    return parser.parse_args()


def configuration(args: argparse.Namespace) -> TrainConfig:
    """Return the pack's settings with those that were given."""
    config = load_train_config(pack_folder("fraud"), args.family)
    given = dict(each.split("=") for each in args.set)
    if "dropout" in given:
        scorer = replace(config.scorer, dropout=float(given.pop("dropout")))
        config = replace(config, scorer=scorer)
    changes = {name: type(getattr(config, name))(value) for name, value in given.items()}
    return config.changed(**changes)


def load(path: Path, config: TrainConfig) -> Table:
    """Read the events and make their features."""
    schema = load_schema(pack_folder("fraud"))
    began_s = time.monotonic()
    mapped = schema.with_paths(PATHS)
    history = History.open(path, mapped)
    decoded = history.decode(Decoder(mapped, Limits()), 1 << 42)
    events = replace(decoded.columns, rows=np.arange(len(decoded.columns)))
    assert history.labels is not None
    labels = history.labels[decoded.columns.rows]
    read_s = time.monotonic() - began_s
    scorer = Scorer(schema, config.scorer)
    histories = by_account(account_hashes(events, schema))
    delay_ms = LABEL_DELAY_DAYS * DAY_MS
    made = feature_table(scorer, events, histories, labels, delay_ms)
    print(
        f"{len(events):,} events, {len(scorer.outputs)} features: read in {read_s:.0f} s, "
        f"features in {time.monotonic() - began_s - read_s:.0f} s, "
        f"{scorer.layout.nbytes} bytes of state an account"
    )
    return Table(events, labels, made.columns, scorer)


def fold_of(table: Table, start_ms: int, back_days: int) -> Fold:
    """Return the fold that starts at ``start_ms``."""
    times = table.events.event_time_ms
    until_ms = start_ms + 7 * DAY_MS
    rows = np.flatnonzero(
        (times >= until_ms - back_days * DAY_MS) & (times < start_ms + 21 * DAY_MS)
    )
    events, labels = table.events.take(rows), table.labels[rows]
    late = events.event_time_ms >= start_ms + 14 * DAY_MS
    known = compromised(events, labels, since_ms=start_ms)
    training = events.event_time_ms < until_ms
    return Fold(events, labels, table.columns[rows], training, late & ~known)


def report(
    name: str, starts: Sequence[int], folds: Sequence[Fold], score: Callable[[Fold], Floats]
) -> None:
    """Print a row for each fold, and their mean and spread."""
    rows = []
    for start, fold in zip(starts, folds, strict=True):
        began_s = time.monotonic()
        scores = np.zeros(len(fold.events), dtype=np.float32)
        scores[fold.judged] = score(fold)
        found: Mapping[str, Any] = evaluate(
            scores, fold.labels, fold.events, keep=fold.judged
        ).to_dict()
        rows.append([found[each] for each in FIGURES])
        when = str(np.datetime64(start, "ms"))[:10]
        print(line(name, when, rows[-1]) + f"{time.monotonic() - began_s:>9.0f}", flush=True)
    print(line(name, "mean", np.mean(rows, axis=0).tolist()))
    print(line(name, "sd", np.std(rows, axis=0).tolist()), flush=True)


def line(name: str, what: str, figures: Sequence[float]) -> str:
    auc, precision, cards = figures
    return f"{name:16}{what:>12}{auc:>9.4f}{precision:>8.4f}{cards:>8.4f}"


def amounts(fold: Fold) -> Floats:
    """The dumb baseline: the larger the amount, the more suspicious."""
    values: Floats = fold.events.values["amount"]
    return values[fold.judged]


def trees(fold: Fold, seed: int) -> Floats:
    """Gradient-boosted trees on the same columns, event by event."""
    model = new_trees(seed)
    columns = fold.columns.numpy()
    model.fit(columns[fold.training], fold.labels[fold.training] > 0.5)
    found: Floats = model.predict_proba(columns[fold.judged])[:, 1].astype(np.float32)
    return found


def scored(fold: Fold, table: Table, config: TrainConfig) -> Floats:
    """The pack's scorer, for all its epochs: nothing of the judged days stops it."""
    torch.manual_seed(config.seed)
    schema = table.scorer.schema
    scorer = Scorer(schema, config.scorer)
    material = Material(
        histories=by_account(account_hashes(fold.events, schema)),
        columns=fold.columns,
        fresh=torch.ones(len(fold.events), dtype=torch.bool),
        labels=torch.from_numpy(fold.labels),
        periods=Periods(fold.training, fold.judged),
    )
    fit_scales(scorer, material, config.seed)
    learner = Learner(scorer, material, config)
    for _ in range(config.epochs):
        learner.epoch()
    return validation_logits(learner.averaged, material)


if __name__ == "__main__":
    sys.exit(main())
