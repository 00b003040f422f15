"""Scorers, streams and histories for the tests of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.columns import Columns
from engine.hashing import hash_strings
from models.config import Part, ScorerConfig, TrainConfig, load_train_config
from models.packs.registry import load_schema, pack_folder
from models.scorer import Scorer

DAY_MS = 86_400_000
START_MS = 1_525_132_800_000  # 2018-05-01T00:00Z

SCHEMA = load_schema(pack_folder("fraud"))
CONFIG = load_train_config(pack_folder("fraud"))

#: A cell's options: every family has a width.
SMALL: Mapping[str, int] = MappingProxyType({"size": 8})


def scorer_config(family: str = "gru", options: Mapping[str, int] = SMALL) -> ScorerConfig:
    cell = Part(family, dict(options))
    return replace(CONFIG.scorer, cell=cell, hidden=(16,), dropout=0.0)


def random_scorer(family: str = "gru", seed: int = 0, options: Mapping[str, int] = SMALL) -> Scorer:
    """An untrained scorer whose encoding is fitted to nonsense."""
    torch.manual_seed(seed)
    scorer = Scorer(SCHEMA, scorer_config(family, options))
    rng = np.random.default_rng(seed)
    scorer.encoder.fit(rng.lognormal(1, 2, (500, len(scorer.outputs))).astype(np.float32))
    return scorer.eval()


def zeros(scorer: Scorer, size: int) -> dict[str, Tensor]:
    return {
        dtype: torch.zeros(size, width, dtype=getattr(torch, dtype))
        for dtype, width in scorer.layout.sizes.items()
    }


def unknown(scorer: Scorer, size: int) -> dict[str, Tensor]:
    """The buckets of shared entities of which nothing is known."""
    return {
        each.input: torch.zeros(size, each.buckets, len(each.quantities)) for each in scorer.shared
    }


def batch(
    event_id: list[int], time_ms: list[int], terminal: list[int], amount: list[float]
) -> dict[str, Tensor]:
    return {
        "event_id": torch.tensor(event_id),
        "event_time": torch.tensor(time_ms),
        "terminal": torch.tensor(terminal),
        "amount": torch.tensor(amount, dtype=torch.float32),
    }


def train_config(**settings: object) -> TrainConfig:
    """Small and quick."""
    small = TrainConfig(
        scorer=scorer_config(),
        warm_up_days=5.0,
        label_delay_days=2.0,
        validation_days=10.0,
        epochs=4,
        windows=128,
        steps=8,
        negatives=0.5,
        learning_rate=5e-3,
        average=0.9,
        threads=1,
    )
    return small.changed(**settings)


def planted_history(
    accounts: int = 250, days: int = 50, seed: int = 3
) -> tuple[Columns, NDArray[np.float32]]:
    """Accounts that each spend about their own level; a fraud multiplies an amount by 5."""
    rng = np.random.default_rng(seed)
    n = accounts * days
    owner = np.repeat(np.arange(accounts), days)
    times = START_MS + rng.integers(0, days * DAY_MS, n)
    order = np.argsort(times, kind="stable")
    owner, times = owner[order], times[order]
    fraud = rng.random(n) < 0.03
    level = rng.uniform(20, 60, accounts)[owner]
    amount = level * rng.uniform(0.7, 1.3, n) * np.where(fraud, 5.0, 1.0)
    ids = [f"t{at}" for at in range(n)]
    names = [f"a{at}" for at in owner.tolist()]
    columns = Columns(
        rows=np.arange(n),
        event_ids=ids,
        accounts=names,
        event_time_ms=times,
        values={
            "event_id": hash_strings(ids),
            "event_time": times,
            "account": hash_strings(names),
            "terminal": hash_strings(f"s{at}" for at in rng.integers(0, 20, n).tolist()),
            "amount": amount.astype(np.float32),
        },
    )
    return columns, fraud.astype(np.float32)
