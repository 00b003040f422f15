"""The credit pack's features against a plain computation, and what its data are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import HistoryError
from models.packs.credit.figures import (
    CreditFigures,
    calibration_error,
    deciles,
    least_calibration_error,
    stability,
)
from models.packs.credit.prepare import statements

pytest.importorskip("torch")
import torch

from models.config import load_train_config
from models.packs.credit.features import Statements
from models.packs.registry import load_schema, pack_folder
from models.scorer import Scorer

MONTH_MS = 30 * 86_400_000


def plain(history: list[dict[str, float]]) -> dict[str, float]:
    """Some of the columns of the last statement of a history, said plainly."""
    window, now = history[-6:], history[-1]
    used = [each["amount"] / each["limit"] for each in window]
    paid = [each["payment"] / each["limit"] for each in window]
    status = [each["status"] for each in window]
    before = history[-2] if len(history) > 1 else {"amount": 0.0, "status": 0.0}
    return {
        "worst_status": max(status),
        "months_behind": sum(each > 0 for each in status),
        "mean_status": sum(status) / len(status),
        "arrears_sum": sum(max(each, 0) for each in status),
        "status_before": now["status"] - before["status"],
        "utilisation": used[-1],
        "rise": (now["amount"] - before["amount"]) / now["limit"],
        "mean_utilisation": sum(used) / len(used),
        "most_utilised": max(used),
        "least_utilised": min(used),
        "paid_of_bill": min(now["payment"] / max(abs(before["amount"]), 1.0), 10.0),
        "mean_paid": sum(paid) / len(paid),
        "most_paid": max(paid),
        "least_paid": min(paid),
        "months_unpaid": sum(each <= 0 for each in paid),
        "statements": len(window),
    }


def test_features_are_those_of_the_last_six_statements() -> None:
    folder = pack_folder("credit")
    scorer = Scorer(load_schema(folder), load_train_config(folder).scorer)
    rng = np.random.default_rng(0)
    state = {
        dtype: torch.zeros(1, size, dtype=getattr(torch, dtype))
        for dtype, size in scorer.layout.sizes.items()
    }
    names = [each.name for each in scorer.outputs]
    history: list[dict[str, float]] = []
    for month in range(9):
        numbers = {
            "amount": float(rng.integers(-1_000, 90_000)),
            "limit": 80_000.0,
            "status": float(rng.integers(-2, 5)),
            "payment": float(rng.integers(0, 2) * rng.integers(0, 9_000)),
        }
        history.append(numbers)
        events: dict[str, Any] = {
            "event_id": torch.tensor([month + 1]),
            "event_time": torch.tensor([1_600_000_000_000 + month * MONTH_MS]),
            **{name: torch.tensor([value]) for name, value in numbers.items()},
        }
        made, _, state = scorer.features(events, state, {})
        found = dict(zip(names, made[0].tolist(), strict=True))
        expected = plain(history)
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_every_column_has_a_group_with_a_sentence() -> None:
    groups = {each.group for each in Statements().outputs}
    said = {each.name for each in load_train_config(pack_folder("credit")).scorer.reasons}
    assert groups <= said


def raw_file(folder: Path, clients: int = 40) -> Path:
    rng = np.random.default_rng(1)
    names = [f"PAY_{at}" for at in (0, 2, 3, 4, 5, 6)]
    names += [f"{what}{at}" for what in ("BILL_AMT", "PAY_AMT") for at in range(1, 7)]
    columns = {name: rng.integers(0, 9, clients) for name in names}
    columns |= {name: np.ones(clients, int) for name in ("SEX", "EDUCATION", "MARRIAGE")}
    columns |= {"ID": np.arange(clients), "LIMIT_BAL": np.full(clients, 50_000)}
    columns |= {"AGE": np.full(clients, 30), "default payment next month": np.arange(clients) % 2}
    file = folder / "raw.parquet"
    pq.write_table(pa.table(columns), file)
    return file


def test_a_raw_file_becomes_six_statements_a_client_with_one_outcome(tmp_path: Path) -> None:
    file = raw_file(tmp_path)
    table, raw = statements(file, training=False).to_pydict(), pq.read_table(file).to_pydict()
    own = [at for at, client in enumerate(table["client_id"]) if client == "7"]
    assert [table["time"][at][:7] for at in own] == [f"2005-{month:02}" for month in range(4, 10)]
    assert [table["status"][at] for at in own] == [
        raw[name][7] for name in ("PAY_6", "PAY_5", "PAY_4", "PAY_3", "PAY_2", "PAY_0")
    ]
    assert [table["default"][at] for at in own] == [None] * 5 + [1]
    assert [table["age"][at] for at in own] == [30] + [0] * 5


def test_a_training_adds_shorter_histories_and_gaps_under_names_that_only_teach(
    tmp_path: Path,
) -> None:
    table = statements(raw_file(tmp_path), training=True).to_pydict()
    added = {each for each in table["client_id"] if "~" in each}
    short = {each for each in added if each.endswith("~short")}
    assert 10 <= len(short) <= 30
    assert 2 <= len(added - short) <= 16
    for client in added:
        months = [
            table["time"][at][5:7] for at, each in enumerate(table["client_id"]) if each == client
        ]
        assert months[-1] == "09"
        assert len(months) == 5 if client.endswith("~gap") else len(months) <= 5


def test_another_file_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    pq.write_table(pa.table({"ID": [1]}), tmp_path / "raw.parquet")
    with pytest.raises(HistoryError, match=r"raw\.parquet has no LIMIT_BAL, PAY_6"):
        statements(tmp_path / "raw.parquet", training=False)


def test_figures_are_those_of_their_definitions() -> None:
    scores = np.array([0.1, 0.2, 0.6, 0.8])
    default = np.array([False, True, False, True])
    found = CreditFigures.of(scores, default)
    assert (found.auc, found.gini, found.ks) == pytest.approx((0.75, 0.5, 0.5))
    assert found.brier == pytest.approx((0.01 + 0.64 + 0.36 + 0.04) / 4)
    assert found.calibration_error == pytest.approx((0.1 + 0.8 + 0.6 + 0.2) / 4)


def test_true_probabilities_are_calibrated_rank_and_stay() -> None:
    rng = np.random.default_rng(2)
    scores = rng.beta(1, 4, 40_000)
    default = rng.random(40_000) < scores
    assert calibration_error(scores, default) < 0.006
    assert (
        least_calibration_error(scores, draws=5) < 0.006 < least_calibration_error(scores[:500], 5)
    )
    assert calibration_error(np.minimum(scores + 0.2, 1.0), default) > 0.15
    table = deciles(scores, default)
    assert [each.clients for each in table] == [4_000] * 10
    assert table[0].lift > 2 > 0.5 > table[-1].lift
    assert table[-1].found == 1
    assert stability(scores[:20_000], scores[20_000:]) < 0.01
    assert stability(scores, scores**2) > 0.25
