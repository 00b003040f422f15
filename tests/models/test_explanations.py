"""The first reason is the cause that was planted, whatever the family.

Two kinds of fraud are in the history: an account's amount times five, and terminals at which
everything is fraud for some days. Labels become known two days after their events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.columns import Columns
from engine.hashing import hash_strings
from models.cells.registry import CELLS
from models.learner import Learner, Material
from models.scorer import Scorer
from models.training import Prepared, fit_scales, prepare
from tests.models.tools import DAY_MS, SCHEMA, START_MS, scorer_config, train_config

ACCOUNTS, DAYS, TERMINALS = 120, 45, 24

#: How long everything at a compromised terminal is fraud, in days.
COMPROMISED_DAYS = 7


@dataclass(frozen=True, slots=True)
class Planted:
    """A history, and why each of its events is fraud: ``amount``, ``terminal``, or empty."""

    prepared: Prepared
    cause: NDArray[np.str_]


@pytest.fixture(scope="module")
def planted() -> Planted:
    """The history with its features, which all families share."""
    rng = np.random.default_rng(11)
    n = ACCOUNTS * DAYS
    owner, terminal = np.repeat(np.arange(ACCOUNTS), DAYS), rng.integers(0, TERMINALS, n)
    times = np.sort(START_MS + rng.integers(0, DAYS * DAY_MS, n))
    rng.shuffle(owner)
    begins = START_MS + rng.uniform(3, DAYS - COMPROMISED_DAYS, TERMINALS) * DAY_MS
    within = (times >= begins[terminal]) & (times < begins[terminal] + COMPROMISED_DAYS * DAY_MS)
    compromised = within & (terminal % 3 == 0)
    high = ~compromised & (rng.random(n) < 0.03)
    level = rng.uniform(20, 60, ACCOUNTS)[owner]
    amount = level * rng.uniform(0.7, 1.3, n) * np.where(high, 5.0, 1.0)
    columns = _columns(owner, terminal, times, amount)
    labels = (compromised | high).astype(np.float32)
    cause = np.where(compromised, "terminal", np.where(high, "amount", ""))
    return Planted(prepare(columns, labels, SCHEMA, train_config()), cause)


def _columns(
    owner: NDArray[np.int64],
    terminal: NDArray[np.int64],
    times: NDArray[np.int64],
    amount: NDArray[np.float64],
) -> Columns:
    ids = [f"t{at}" for at in range(len(owner))]
    accounts = [f"a{at}" for at in owner.tolist()]
    return Columns(
        rows=np.arange(len(owner)),
        event_ids=ids,
        accounts=accounts,
        event_time_ms=times,
        values={
            "event_id": hash_strings(ids),
            "event_time": times,
            "account": hash_strings(accounts),
            "terminal": hash_strings(f"s{at}" for at in terminal.tolist()),
            "amount": amount.astype(np.float32),
        },
    )


@pytest.fixture(scope="module", params=CELLS)
def scorer(request: pytest.FixtureRequest, planted: Planted) -> Scorer:
    """A small scorer of one family, trained on the history."""
    config = train_config(
        scorer=scorer_config(request.param), epochs=6, windows=128, steps=8, learning_rate=1e-2
    )
    torch.manual_seed(0)
    made = Scorer(SCHEMA, config.scorer)
    fit_scales(made, planted.prepared.material, 0)
    learner = Learner(made, planted.prepared.material, config)
    for _ in range(config.epochs):
        learner.epoch()
    return learner.averaged


def first_reasons(scorer: Scorer, planted: Planted) -> Mapping[int, str]:
    """The first reason of each fraud of the validation that is alerted, by row."""
    rows = np.flatnonzero(planted.prepared.periods.validation & (planted.cause != ""))
    names = [each.name for each in scorer.reasons]
    found = {}
    with torch.inference_mode():
        for row in rows.tolist():
            columns, memory = before(scorer, planted.prepared.material, row)
            encoded = scorer.encoder(columns)
            z, _ = scorer.cell.step(encoded, memory)
            if scorer.head(torch.cat((encoded, z), dim=1)).item() > 0.0:
                pushed = scorer.contributions(columns, memory)[0].numpy()
                found[row] = names[int(np.argmax(pushed))]
    return found


def before(scorer: Scorer, material: Material, row: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A row's features, ``[1, f]``, and what the cell remembers then, ``[1, state_size]``."""
    histories = material.histories
    account = histories.account[row]
    own = histories.order[histories.starts[account] : histories.starts[account + 1]]
    earlier = material.columns[own[own < row]][None]
    memory = torch.zeros(1, scorer.cell.state_size)
    if earlier.shape[1] and scorer.cell.state_size:
        valid = torch.ones(earlier.shape[:2], dtype=torch.bool)
        _, memory = scorer.forward_sequence(earlier, memory, valid)
    return material.columns[row][None], memory


@pytest.mark.parametrize("cause", ["amount", "terminal"])
def test_the_planted_cause_is_the_first_reason(
    cause: str, scorer: Scorer, planted: Planted
) -> None:
    reasons = first_reasons(scorer, planted)
    own = [reason for row, reason in reasons.items() if planted.cause[row] == cause]
    assert len(own) >= 5
    assert np.mean([reason == cause for reason in own]) >= 0.9
