"""The market pack's features against plain computations, its figures, and its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.decode import Decoder
from engine.errors import HistoryError
from engine.history import History
from models.packs.market.coverage import christoffersen, independence, kupiec
from models.packs.market.figures import Rises, SecurityFigures
from models.packs.market.prepare import bars
from models.packs.registry import load_schema, pack_folder

pytest.importorskip("torch")
import torch

from engine.bundle import Bundle
from export.bundle import export_bundle
from models.config import load_train_config
from models.data import by_account
from models.forecast import pinball, targets, train_forecast
from models.progress import Progress
from models.scorer import Scorer

FOLDER = pack_folder("market")
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(load_schema(FOLDER), load_train_config(FOLDER).scorer)


def test_means_of_returns_are_those_of_their_half_lives(scorer: Scorer) -> None:
    rng = np.random.default_rng(0)
    returns = rng.standard_t(3, 80)
    returns[40] = -60.0
    closes = np.exp(np.cumsum(returns) / 100)
    names = [each.name for each in scorer.outputs]
    state = {
        dtype: torch.zeros(1, size, dtype=getattr(torch, dtype))
        for dtype, size in scorer.layout.sizes.items()
    }
    shared = {each.input: torch.zeros(1, each.buckets, 3) for each in scorer.shared}
    variance, slow, loss, held_by = 4.0, 4.0, 2.0, 4.0
    for day, close in enumerate([1.0, *closes.tolist()]):
        events = {
            "event_id": torch.tensor([day + 1]),
            "event_time": torch.tensor([1_600_000_000_000 + day * DAY_MS]),
            "market": torch.tensor([5]),
            "amount": torch.tensor([close], dtype=torch.float32),
            "split": torch.tensor([1.0]),
        }
        made, _, state = scorer.features({n: events[n] for n in scorer.inputs}, state, shared)
        found = dict(zip(names, made[0].tolist(), strict=True))
        if day == 0:
            assert (found["returned"], found["return"]) == (0.0, 0.0)
            continue
        held = float(np.clip(returns[day - 1], -8 * held_by**0.5, 8 * held_by**0.5))
        variance += (held**2 - variance) * (1 - 0.5 ** (1 / 16))
        slow += (held**2 - slow) * (1 - 0.5 ** (1 / 128))
        loss += ((held**2 if held < 0 else 0.0) - loss) * (1 - 0.5 ** (1 / 8))
        held_by += (held**2 - held_by) * (1 - 0.5 ** (1 / 20))
        assert found["return"] == pytest.approx(returns[day - 1], abs=2e-3)
        assert found["held_return"] == pytest.approx(held, abs=2e-3)
        assert found["scale"] == pytest.approx(variance**0.5, rel=1e-3)
        assert found["volatility_slow"] == pytest.approx(np.log(slow**0.5), abs=1e-3)
        assert found["loss_8d"] == pytest.approx(np.log(loss**0.5 / slow**0.5), abs=2e-3)


def test_the_target_of_a_bar_is_the_return_of_the_securitys_next(scorer: Scorer) -> None:
    names = [each.name for each in scorer.outputs]
    columns = torch.zeros(5, len(names))
    columns[:, names.index("return")] = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])
    columns[:, names.index("returned")] = torch.tensor([0.0, 0.0, 1.0, 0.0, 1.0])
    found = targets(scorer, columns, by_account(np.array([7, 8, 7, 8, 7])))
    assert found.tolist() == pytest.approx([2.0, np.nan, 4.0, np.nan, np.nan], nan_ok=True)


def test_the_pinball_loss_is_least_at_the_quantile() -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(size=20_000))
    losses = [
        float(pinball((values - guess)[:, None].float().expand(-1, 5)).mean(0)[1])
        for guess in (-2.2, -1.645, -1.1)
    ]
    assert losses[1] == min(losses)


def test_coverage_tests_are_those_of_the_papers() -> None:
    # 1995, table 2: of 255 days at 1 %, fewer than 7 losses are not rejected.
    assert kupiec(np.arange(255) < 6, 0.01) > 0.05 > kupiec(np.arange(255) < 7, 0.01)
    assert kupiec(np.zeros(255, dtype=bool), 0.01) < 0.05
    spread = np.arange(1_000) % 20 == 0
    clustered = (np.arange(1_000) // 10) % 20 == 0
    assert kupiec(spread, 0.05) == pytest.approx(kupiec(clustered, 0.05)) == pytest.approx(1.0)
    assert independence(clustered) < 1e-6
    assert christoffersen(clustered, 0.05) < 1e-5


def test_figures_of_true_quantiles_hold() -> None:
    rng = np.random.default_rng(3)
    returns = 0.01 * rng.normal(size=4_000)
    quantiles = np.tile(0.01 * np.array([-2.326, -1.645, 0.0, 1.645, 2.326]), (4_000, 1))
    found = SecurityFigures.of("A", quantiles, returns)
    assert found.below == pytest.approx((0.01, 0.05, 0.5, 0.95, 0.99), abs=0.02)
    assert min(found.kupiec_05, found.christoffersen_05) > 0.01
    rises = Rises.of(np.full(4_000, 0.5), returns)
    assert rises.brier == pytest.approx(0.25)
    assert rises.usual_brier <= 0.25


def raw_file(folder: Path, days: int = 420) -> Path:
    rng = np.random.default_rng(4)
    dates = np.datetime64("2020-01-01") + np.arange(days)
    closes = 50 * np.exp(np.cumsum(0.01 * rng.standard_t(4, (days, 3)), axis=0))
    closes[:30, 2] = np.nan
    columns = {"Date": [str(each) for each in dates]}
    columns |= {name: closes[:, at] for at, name in enumerate("ABC")}
    pq.write_table(pa.table(columns), folder / "raw.parquet")
    return folder / "raw.parquet"


def test_a_raw_file_becomes_a_bar_for_each_price(tmp_path: Path) -> None:
    table = bars(raw_file(tmp_path), training=True).to_pydict()
    assert len(table["close"]) == 420 * 3 - 30
    assert (table["bar_id"][0], table["time"][0]) == ("A-2020-01-01", "2020-01-01T21:00:00Z")
    assert table["security"].count("C") == 390
    pq.write_table(pa.table({"day": [1]}), tmp_path / "other.parquet")
    with pytest.raises(HistoryError, match=r"must have a column Date .* however: other\.parquet"):
        bars(tmp_path / "other.parquet", training=False)


class _Losses(Progress):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        self.losses.append(figures["loss"])


def test_a_training_learns_from_the_next_return_and_is_exported(tmp_path: Path) -> None:
    file = tmp_path / "bars.parquet"
    pq.write_table(bars(raw_file(tmp_path), training=True), file)
    schema = load_schema(FOLDER)
    columns = History.open(file, schema).decode(Decoder(schema), 2**53).columns
    config = load_train_config(FOLDER).changed(
        epochs=2, warm_up_days=60.0, validation_days=90.0, threads=1
    )
    seen = _Losses()
    trained = train_forecast(replace(columns, rows=np.arange(len(columns))), schema, config, seen)
    assert len(seen.losses) == 2
    assert seen.losses[1] < seen.losses[0]
    assert trained.facts["validation"]["events"] == 3 * 90 - 3
    parity = export_bundle(trained, tmp_path / "bundle", name="market-test", version="1")
    assert parity.score < 1e-5
    manifest = Bundle.load(tmp_path / "bundle").manifest
    assert manifest.reasons_in == "log_volatility"
    assert [each.name for each in manifest.rules] == ["volatility", "breach"]
