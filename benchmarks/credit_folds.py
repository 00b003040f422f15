"""Judge the credit pack on five stratified folds, beside a scorecard and boosted trees.

    python benchmarks/credit_folds.py --data taiwan-credit-default.parquet --out credit-folds

Each fold's model is trained on the other four fifths of the clients, exported, and scores the
fold's statements through the engine. The baselines see the model's own features of the last
statement and the status, utilisation and payment of the five before it. What is trained is kept in
``--out`` and not trained again; that of fold 0 is the bundle that comes with riskstream.
``--protected`` measures what leaving the attributes out costs.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import orjson
import pyarrow.parquet as pq
import torch
from category_encoders import WOEEncoder
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer

from engine.bundle import Bundle
from engine.columns import Columns
from engine.decode import Decoder
from engine.history import History
from engine.schema import Schema
from export.bundle import export_bundle
from models.config import Part, TrainConfig, load_train_config
from models.data import account_hashes, by_account, feature_table
from models.packs.code import load_code
from models.packs.credit.figures import CreditFigures, least_calibration_error
from models.packs.credit.prepare import TARGET, statements
from models.packs.credit.report import fold_table, report, stability_between
from models.packs.registry import load_schema, pack_folder
from models.packs.reports import ScoredHistory
from models.periods import TEACHES
from models.report import Table
from models.scorer import Scorer
from models.training import train
from riskstream.histories import Scoring
from riskstream.options import out
from riskstream.pack_evaluation import scored_history
from riskstream.page_view import print_page
from streams.settings import Settings

Floats: TypeAlias = NDArray[np.floating[Any]]

FOLDS = 5
_ABOUT = {"data": "taiwan-credit-default.parquet, four fifths of the clients"}
PROTECTED = ("sex", "education", "marriage", "age")
_LAGGED = ("status", "utilisation", "paid_share")


@dataclass(frozen=True, slots=True)
class Data:
    """The statements as they are trained on, and what the folds are cut by.

    Args:
        file: their parquet file, with the clients that only teach.
        columns: ``n`` statements.
        labels: float32 ``[n]``.
        client: the number of each statement's client in the raw file, int64 ``[n]``.
        teaches: which statements are of clients that only teach, bool ``[n]``.
        folds: the clients of each fold, as numbers.
    """

    file: Path
    columns: Columns
    labels: NDArray[np.float32]
    client: NDArray[np.int64]
    teaches: NDArray[np.bool_]
    folds: Sequence[NDArray[np.int64]]


def read(raw: Path, folder: Path, schema: Schema) -> Data:
    """Return the data of a raw file."""
    file = folder / "statements.parquet"
    pq.write_table(statements(raw, training=True), file)
    history = History.open(file, schema)
    columns = history.decode(Decoder(schema), 2**53).columns
    names = columns.accounts
    ids = pq.read_table(raw, columns=["ID"])["ID"].to_numpy()
    place = {str(each): at for at, each in enumerate(ids.tolist())}
    client = np.array([place[each.partition(TEACHES)[0]] for each in names])
    teaches = np.array([TEACHES in each for each in names])
    default = pq.read_table(raw, columns=[TARGET])[TARGET].to_numpy()
    cut = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(ids, default)
    labels = history.labels
    assert labels is not None
    return Data(file, columns, labels, client, teaches, [test for _, test in cut])


def train_fold(data: Data, fold: int, folder: Path, schema: Schema, config: TrainConfig) -> Bundle:
    """Return the bundle that is trained on the clients of the other folds."""
    target = folder / f"fold-{fold}"
    if not (target / "manifest.json").exists():
        mine = np.flatnonzero(~np.isin(data.client, data.folds[fold]))
        events = replace(data.columns.take(mine), rows=np.arange(len(mine)))
        trained = train(events, data.labels[mine], schema, config)
        export_bundle(trained, target, name="credit-cnn", version="2", training=_ABOUT)
    return Bundle.load(target)


def score_fold(data: Data, fold: int, bundle: Bundle, schema: Schema) -> ScoredHistory:
    """Return the statements of a fold's clients with their scores, teaching clients among them."""
    history = History.open(data.file, schema)
    chosen = np.isin(data.client, data.folds[fold])
    table = pq.read_table(data.file).filter(chosen[np.argsort(history.file_rows)])
    file = data.file.with_name("fold.parquet")
    pq.write_table(table, file)
    return scored_history(
        History.open(file, schema), bundle, Settings(), Scoring(), 0, "the five folds"
    )


def tabular(data: Data, schema: Schema, config: TrainConfig) -> tuple[Floats, Floats]:
    """Return the baselines' columns ``[clients, k]``, and the protected attributes."""
    torch.manual_seed(0)
    scorer = Scorer(schema, config.scorer)
    own = replace(data.columns.take(~data.teaches), rows=np.arange(int((~data.teaches).sum())))
    table = feature_table(
        scorer, own, by_account(account_hashes(own, schema)), np.full(len(own), np.nan, "f4"), 0
    )
    order = np.lexsort((own.event_time_ms, data.client[~data.teaches]))
    made = table.columns.numpy()[order].reshape(-1, 6, len(scorer.outputs))
    names = [each.name for each in scorer.outputs]
    lagged = made[:, :5, [names.index(each) for each in _LAGGED]].reshape(len(made), -1)
    said = np.stack([own.values[name][order].reshape(-1, 6)[:, 0] for name in PROTECTED], axis=1)
    return np.concatenate((made[:, -1], lagged), axis=1), said


def scorecard() -> Any:
    """Logistic regression over weights of evidence of twelve bins of each column."""
    bins = KBinsDiscretizer(
        12, encode="ordinal", strategy="quantile", quantile_method="averaged_inverted_cdf"
    )
    return make_pipeline(
        bins.set_output(transform="pandas"), _Evidence(), LogisticRegression(C=0.05, max_iter=2000)
    )


class _Evidence(WOEEncoder):
    """Weights of evidence of every column, whatever its type."""

    def fit(self, table: Any, target: Any, **options: Any) -> Any:
        self.cols = list(table.columns)
        return super().fit(table, target, **options)


def trees() -> Any:
    """Gradient-boosted trees, with the settings that were best within training clients."""
    return HistGradientBoostingClassifier(
        learning_rate=0.03,
        max_iter=300,
        max_leaf_nodes=12,
        min_samples_leaf=60,
        l2_regularization=5.0,
        max_features=0.3,
        random_state=0,
    )


def baseline(model: Any, columns: Floats, default: NDArray[np.bool_], data: Data) -> list[Floats]:
    """Return a model's probabilities of each fold's clients, trained on the others."""
    found = []
    for test in data.folds:
        rest = np.setdiff1d(np.arange(len(default)), test)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = model().fit(columns[rest], default[rest])
            found.append(fitted.predict_proba(columns[test])[:, 1])
    return found


def joined(parts: Sequence[ScoredHistory]) -> ScoredHistory:
    """Return the statements of all folds as one history."""
    reasons: dict[int, Sequence[str]] = {}
    start = 0
    for each in parts:
        reasons |= {start + place: names for place, names in each.reasons.items()}
        start += len(each.scores)
    return replace(
        parts[0],
        columns=Columns.concatenate([each.columns for each in parts]),
        scores=np.concatenate([each.scores for each in parts]),
        outputs={
            name: np.concatenate([each.outputs[name] for each in parts])
            for name in parts[0].outputs
        },
        decisions=np.concatenate([each.decisions for each in parts]),
        late=np.concatenate([each.late for each in parts]),
        labels=np.concatenate([each.labels for each in parts]),
        judged=np.concatenate([each.judged & ~_teaching(each) for each in parts]),
        reasons=reasons,
    )


def _teaching(scored: ScoredHistory) -> NDArray[np.bool_]:
    return np.array([TEACHES in each for each in scored.columns.accounts])


def histories_table(parts: Sequence[ScoredHistory]) -> tuple[Table, list[dict[str, Any]]]:
    """Return how good the scores are by how much of a client was seen."""
    whole = replace(joined(parts), judged=np.ones(sum(len(each.scores) for each in parts), bool))
    known = ~np.isnan(whole.labels)
    names = np.array(whole.columns.accounts)
    account = np.unique(names, return_inverse=True)[1]
    seen = np.bincount(account)[account]
    is_gap = np.array([each.endswith("~gap") for each in whole.columns.accounts])
    kinds = {f"{months} statements": ~is_gap & (seen == months) for months in range(1, 7)}
    kinds["one of six missing"] = is_gap
    rows = []
    for name, member in kinds.items():
        chosen = member & known
        found = CreditFigures.of(whole.scores[chosen], whole.labels[chosen] > 0.5)
        rows.append({"seen": name, **found.to_dict()})
    columns = ["seen", ("clients", "count"), ("AUC", "score"), ("calibration error", "score")]
    shown = [(r["seen"], r["clients"], r["auc"], r["calibration_error"]) for r in rows]
    return Table(columns, shown), rows


def judge_model(
    data: Data, folder: Path, schema: Schema, config: TrainConfig
) -> tuple[list[CreditFigures], list[ScoredHistory]]:
    """Return the model's figures of each fold, and the folds' statements with their scores."""
    figures, parts = [], []
    folder.mkdir(parents=True, exist_ok=True)
    for fold in range(FOLDS):
        scored = score_fold(data, fold, train_fold(data, fold, folder, schema, config), schema)
        known = ~np.isnan(scored.labels) & ~_teaching(scored)
        figures.append(CreditFigures.of(scored.scores[known], scored.labels[known] > 0.5))
        parts.append(scored)
        out.print(f"{folder.name}, fold {fold}: AUC {figures[-1].auc:.4f}", highlight=False)
    return figures, parts


def with_attributes(config: TrainConfig) -> TrainConfig:
    """Return a training whose scorer reads the protected attributes too."""
    own = Part("attributes", {"fields": list(PROTECTED)})
    reason = replace(config.scorer.reasons[0], name="client", text="The client's attributes.")
    scorer = replace(
        config.scorer,
        features=(*config.scorer.features, own),
        reasons=(*config.scorer.reasons, reason),
    )
    return replace(config, scorer=scorer)


def main() -> None:
    """Run the folds, and print and write what they show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("credit-folds"))
    parser.add_argument("--protected", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    folder = pack_folder("credit")
    load_code(folder)
    schema, config = load_schema(folder), load_train_config(folder)
    data = read(args.data, args.out, schema)
    default = pq.read_table(args.data, columns=[TARGET])[TARGET].to_numpy() > 0
    columns, said = tabular(data, schema, config)
    models: dict[str, list[CreditFigures]] = {}
    figures, parts = judge_model(data, args.out / "without", schema, config)
    models["CNN over statements"] = figures
    tried = {"scorecard": (scorecard, columns), "boosted trees": (trees, columns)}
    if args.protected:
        tried["boosted trees, with attributes"] = (trees, np.concatenate((columns, said), axis=1))
        other = with_attributes(config)
        models["CNN, with attributes"] = judge_model(data, args.out / "with", schema, other)[0]
    for name, (model, table) in tried.items():
        found = baseline(model, table, default, data)
        models[name] = [
            CreditFigures.of(each, default[test])
            for each, test in zip(found, data.folds, strict=True)
        ]
    write(args.out, models, parts)


def write(
    folder: Path, models: Mapping[str, list[CreditFigures]], parts: Sequence[ScoredHistory]
) -> None:
    """Print the figures, and write them as JSON and as a report."""
    told = report(joined(parts))
    seen, rows = histories_table(parts)
    mine = [part.scores[part.judged & ~_teaching(part) & ~np.isnan(part.labels)] for part in parts]
    psi = stability_between([each.astype(np.float64) for each in mine])
    least = [least_calibration_error(each.astype(np.float64)) for each in mine]
    told.page.section(
        "Five folds",
        table=fold_table(models),
        text=(
            f"Of so few clients, true probabilities would have a calibration error of "
            f"{np.mean(least):.4f} by chance; all folds together have "
            f"{told.figures['calibration_error']:.4f}."
        ),
    )
    told.page.section(
        "Stability",
        text=f"The largest population stability index between two folds' scores is {psi:.4f}.",
    )
    told.page.section("How much was seen", table=seen)
    said = {name: [each.to_dict() for each in folds] for name, folds in models.items()}
    every = {**told.figures, "folds": said, "psi": psi, "seen": rows, "least_error": least}
    (folder / "figures.json").write_bytes(orjson.dumps(every, option=orjson.OPT_INDENT_2))
    (folder / "report.html").write_text(told.html(), encoding="utf-8")
    print_page(told.without_figures(), out)


if __name__ == "__main__":
    main()
