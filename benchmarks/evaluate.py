"""How well the fraud pack's families find the frauds of the Fraud Detection Handbook.

    python -m benchmarks.evaluate --data handbook-transactions.parquet
    python -m benchmarks.evaluate --data handbook-transactions.parquet --folds validation \
        --models mlp --set learning_rate=3e-3 dropout=0.2

The protocol is that of benchmarks/handbook.py. Each finished fold is kept in the JSON file beside
the table, and is not run again unless the data, the features or the model's settings changed: an
interrupted evaluation goes on where it was. Changes of the code go unseen: delete the file then.
Settings are chosen with --folds validation, and the test folds are run once.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.contenders import CALIBRATION_DAYS, Amount, Baseline, Contender, Family
from benchmarks.handbook import FIRST, FOLDS, Fold, Table, fold_of, fold_starts, load_table
from benchmarks.results import FIGURES, Results, mean_and_sd
from benchmarks.results_page import page, shown
from models.checks import FAMILIES
from models.config import ScorerConfig, TrainConfig, load_train_config
from models.evaluation import evaluate
from models.evaluation.baselines import LOGISTIC, TREES
from models.packs.registry import load_schema, pack_folder
from riskstream.training_options import training_settings

MODELS = (*FAMILIES, "trees", "logistic", "amount")
COMMAND = ["python", "-m", "benchmarks.evaluate"]
OUT = {"test": Path("docs/evaluation"), "validation": Path("build/evaluation-validation")}


def main(given: Sequence[str]) -> int:
    args = options(given)
    if not args.data.is_file():
        print(f"skipped: {args.data} is not there; give the Handbook's transactions with --data")
        return 0
    torch.set_num_threads(args.threads)
    pack = load_train_config(pack_folder("fraud"))
    path = (args.out or OUT[args.folds]).with_suffix(".json")
    results = Results.open(path, facts(args, pack.scorer))
    contenders = [contender(each, args.set, pack) for each in args.models]
    starts = fold_starts(args.folds, args.count)
    missing = {each.name: results.missing(each.name, each.settings, starts) for each in contenders}
    if any(missing.values()):
        table = load(args, pack.scorer, results)
        print(line("", "fold", list(FIGURES.values())))
        for each in contenders:
            run(each, missing[each.name], results, table, not args.no_graphs)
    for each in contenders:
        summarize(each.name, results)
    written = path.with_suffix(".md")
    told = [args.data.name if each == str(args.data) else each for each in given]
    written.write_text(page(results, shlex.join(COMMAND + told)), encoding="utf-8")
    print(f"{written} and {path.name} are written")
    return 0


def options(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Judge the fraud pack by the Handbook's protocol.")
    parser.add_argument("--data", type=Path, default=Path("handbook-transactions.parquet"))
    parser.add_argument("--folds", choices=sorted(FIRST), default="test")
    parser.add_argument("--count", type=int, default=FOLDS, help="only the first so many folds")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--back-days", type=int, default=90, help="of training")
    parser.add_argument("--threads", type=int, default=min(os.cpu_count() or 1, 8))
    parser.add_argument("--out", type=Path, help="table and figures, without the suffix")
    parser.add_argument("--no-graphs", action="store_true", help="export and time no graphs")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="of the families: a setting"
    )
    return parser.parse_args(given)


def facts(args: argparse.Namespace, scorer: ScorerConfig) -> dict[str, Any]:
    """Return what every figure depends on."""
    told = scorer.to_dict()
    features = {name: told[name] for name in ("features", "omit", "counterparty", "ring")}
    return {
        "folds": args.folds,
        "back_days": args.back_days,
        "data_sha256": sha256(args.data.read_bytes()).hexdigest(),
        "features": features,
        "shared": [each.to_dict() for each in scorer.shared],
    }


def contender(model: str, given: Sequence[str], pack: TrainConfig) -> Contender:
    folder = pack_folder("fraud")
    if model == "amount":
        return Amount()
    if model in ("trees", "logistic"):
        return Baseline(TREES if model == "trees" else LOGISTIC, pack.seed)
    return Family(training_settings(folder, model, given), load_schema(folder))


def load(args: argparse.Namespace, scorer: ScorerConfig, results: Results) -> Table:
    """Read the data, and keep what the reader wants to know of it."""
    began_s = time.monotonic()
    table = load_table(args.data, scorer)
    seconds = time.monotonic() - began_s
    results.about = {
        "events": len(table.events),
        "frauds": int((table.labels > 0.5).sum()),
        "features": list(table.names),
        "feature_seconds": round(seconds, 1),
        "calibration_days": CALIBRATION_DAYS,
        "cpus": os.cpu_count(),
        "threads": args.threads,
        "versions": {name: version(name) for name in ("torch", "scikit-learn")},
    }
    print(f"{len(table.events):,} events, {len(table.names)} features: {seconds:.0f} s", flush=True)
    return table


def run(
    contender: Contender, missing: Sequence[str], results: Results, table: Table, graphs: bool
) -> None:
    """Run the missing folds, and keep each as soon as it is judged."""
    for start in missing:
        figures = judged(contender, fold_of(table, start, results.facts["back_days"]))
        own = results.contenders[contender.name]
        if graphs and not own["graph"]:
            own["graph"] = dict(contender.graph())
        results.add(contender.name, start, figures)
        cells = [shown(figures[each], each) for each in FIGURES]
        print(line(contender.name, start, cells), flush=True)


def judged(contender: Contender, fold: Fold) -> dict[str, Any]:
    """Return the figures of a fold."""
    began_s, cpu_s = time.monotonic(), time.process_time()
    scores = np.zeros(len(fold.events), dtype=np.float32)
    scores[fold.judged] = contender.scores(fold)
    seconds, cpu_seconds = time.monotonic() - began_s, time.process_time() - cpu_s
    found: Mapping[str, Any] = evaluate(
        scores, fold.labels, fold.events, keep=fold.judged
    ).to_dict()
    kept = {name: value for name, value in found.items() if name != "at_threshold"}
    if not contender.probabilities:
        kept["calibration_error"] = None
    return {**kept, "seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1)}


def summarize(name: str, results: Results) -> None:
    """Print the mean of a contender's folds, and their standard deviation."""
    found = {each: mean_and_sd(results.column(name, each)) for each in FIGURES}
    for at, what in enumerate(("mean", "sd")):
        values = {each: None if pair is None else pair[at] for each, pair in found.items()}
        print(line(name, what, [shown(value, each) for each, value in values.items()]))


def line(name: str, what: str, cells: Sequence[str]) -> str:
    return f"{name:24}{what:>11}" + "".join(f"{cell:>9}" for cell in cells)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
