"""``make evaluate``: what is kept, what is run again, and the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

pytest.importorskip("torch")

from benchmarks.evaluate import main
from benchmarks.handbook import PATHS, fold_starts
from benchmarks.results import Results, mean_and_sd
from benchmarks.results_page import page
from models.packs.registry import load_schema, pack_folder

FACTS = {"folds": "test", "back_days": 90}
STARTS = ["2018-07-25", "2018-08-01"]


def figures(auc: float | None) -> dict[str, Any]:
    return {
        "events": 10,
        "positives": 2,
        "auc_roc": auc,
        "average_precision": 0.5,
        "card_precision_at_100": 0.25,
        "calibration_error": None,
        "seconds": 12.0,
        "cpu_seconds": 20.0,
    }


def test_what_was_judged_is_not_judged_again(tmp_path: Path) -> None:
    path = tmp_path / "a" / "results.json"
    results = Results.open(path, FACTS)
    assert results.missing("gru", {"hidden": (64, 32)}, STARTS) == STARTS
    results.add("gru", STARTS[0], figures(0.875))
    again = Results.open(path, FACTS)
    assert again.missing("gru", {"hidden": (64, 32)}, STARTS) == STARTS[1:]
    assert again.missing("mlp", {}, STARTS) == STARTS
    assert again.missing("gru", {"hidden": (64,)}, STARTS) == STARTS
    assert Results.open(path, {**FACTS, "back_days": 30}).contenders == {}
    assert [each.name for each in path.parent.iterdir()] == ["results.json"]


def test_a_mean_is_of_all_folds_or_none() -> None:
    assert mean_and_sd([0.5, None]) is None
    assert mean_and_sd([0.25, 0.75]) == (0.5, 0.25)


def test_the_folds_are_those_of_the_handbook() -> None:
    assert fold_starts("test") == ["2018-07-25", "2018-08-01", "2018-08-08", "2018-08-15"]
    assert fold_starts("validation")[-1] == "2018-06-20"


def test_the_page_has_means_and_each_fold(tmp_path: Path) -> None:
    results = Results.open(tmp_path / "results.json", FACTS)
    results.about = {
        "events": 1000,
        "frauds": 10,
        "features": ["a", "b"],
        "feature_seconds": 3.0,
        "calibration_days": 14.0,
        "cpus": 2,
        "versions": {"torch": "2.13.0"},
    }
    results.missing("gru", {}, STARTS)
    for start, auc in zip(STARTS, (0.8, 0.9), strict=True):
        results.add("gru", start, figures(auc))
    results.contenders["gru"]["graph"] = {
        "us_per_event": {"1": 100.04, "64": 20.0, "256": 10.0},
        "provider": "CPUExecutionProvider",
        "bytes": 2048,
        "state_bytes": 512,
    }
    text = page(results, "make evaluate")
    assert (
        "| gru | 0.8500 ± 0.0500 | 0.5000 ± 0.0000 | 0.2500 ± 0.0000 | – | 12 | 20 | 12 s |" in text
    )
    assert "| gru | 100.0 | 20.0 | 10.0 | 2.0 KiB | 0.5 KiB |" in text
    assert "| gru | 2018-08-01 | 10 | 2 | 0.9000 |" in text
    assert "took\n24 s" in text


@pytest.fixture(scope="module")
def transactions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some cards of the demo, in columns named as the Handbook's."""
    table = pq.read_table(pack_folder("fraud") / "demo" / "transactions.parquet")
    stolen = table.filter(pc.greater(table["fraud"], 0))
    cards = np.unique(stolen["card_id"].to_numpy())[:40]
    table = table.filter(pc.is_in(table["card_id"], pa.array(cards)))
    names = {each.path: PATHS[each.name] for each in load_schema(pack_folder("fraud")).fields}
    path = tmp_path_factory.mktemp("handbook") / "transactions.parquet"
    pq.write_table(
        table.rename_columns([names.get(each, each) for each in table.column_names]), path
    )
    return path


@pytest.mark.parametrize("graphs", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_evaluation_goes_on_where_it_was(
    graphs: bool, transactions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def evaluated(models: Sequence[str], *more: str) -> tuple[str, dict[str, Any]]:
        out = ("--data", str(transactions), "--out", str(tmp_path / "found"))
        folds = ("--folds", "validation", "--count", "1", "--threads", "1")
        assert main([*out, *folds, "--models", *models, *more]) == 0
        raw = orjson.loads((tmp_path / "found.json").read_bytes())
        return capsys.readouterr().out, raw["contenders"]

    settings = (*([] if graphs else ["--no-graphs"]), "--set", "epochs=1", "hidden=[16]")
    told, first = evaluated(["mlp", "amount"], *settings)
    assert " features: " in told
    mlp, amount = first["mlp"], first["amount alone"]
    assert mlp["settings"]["epochs"] == 1
    assert mlp["graph"].get("us_per_event", {}).keys() == ({"1", "64", "256"} if graphs else set())
    assert mlp["folds"]["2018-07-11"]["auc_roc"] > 0.5
    assert 0 <= mlp["folds"]["2018-07-11"]["calibration_error"] < 0.2
    assert amount["folds"]["2018-07-11"]["calibration_error"] is None
    told, again = evaluated(["amount", "mlp"], *settings)
    assert again == first
    assert " features: " not in told
    assert "| mlp |" in (tmp_path / "found.md").read_text(encoding="utf-8")
