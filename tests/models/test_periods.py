"""How a history is cut, and what an error says where it cannot be."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import HistoryError
from models.config import load_train_config
from models.packs.registry import pack_folder
from models.periods import Bounds, split

DAY_MS = 86_400_000
START_MS = 1_767_225_600_000  # 2026-01-01T00:00Z
CONFIG = load_train_config(pack_folder("fraud")).changed(
    warm_up_days=10.0, label_delay_days=5.0, validation_days=5.0
)


def history(days: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """An event every two hours, every fifth of them a fraud."""
    times = START_MS + np.arange(days * 12) * (DAY_MS // 12)
    return times, (np.arange(len(times)) % 5 == 0).astype(np.float32)


def told(times: NDArray[np.int64], labels: NDArray[np.float32]) -> str:
    with pytest.raises(HistoryError) as error:
        split(times, labels, CONFIG)
    return str(error.value)


def test_the_bounds_are_those_of_the_periods() -> None:
    times, labels = history(40)
    bounds = Bounds.of(int(times[0]), int(times[-1]), CONFIG)
    periods = split(times, labels, CONFIG)
    assert times[periods.training].min() == bounds.train_from == START_MS + 10 * DAY_MS
    assert times[periods.training].max() < bounds.train_until
    assert bounds.validate_from - bounds.train_until == 5 * DAY_MS
    assert times[periods.validation].min() >= bounds.validate_from
    assert times[periods.validation].max() == bounds.end - 1


def test_a_history_that_is_too_short_is_told_with_what_it_needs() -> None:
    times, labels = history(15)
    text = told(times, labels)
    assert "longer than 20 days (warm_up_days 10 + label_delay_days 5 + validation_days 5)" in text
    assert "its 180 events span 14.9 days, 2026-01-01 00:00 to 2026-01-15 22:00" in text
    assert "training.toml" in text


@pytest.mark.parametrize(
    ("label", "found"),
    [
        (0.0, "all 480 known labels are genuine"),
        (1.0, "all 480 known labels are fraud"),
        (np.nan, "none of 480 events has a label"),
    ],
)
def test_labels_that_are_all_alike_are_told(label: float, found: str) -> None:
    times, labels = history(40)
    assert found in told(times, np.full_like(labels, label))


def test_a_validation_without_fraud_is_told_with_its_time() -> None:
    times, labels = history(40)
    labels[times >= START_MS + 34 * DAY_MS] = 0.0
    text = told(times, labels)
    assert "the validation period, 2026-02-04 22:00 to 2026-02-09 22:00, must have frauds" in text
    assert "of its 60 labelled events 0 are frauds" in text
    assert "--until" in text
    assert "validation_days" in text


def test_a_training_period_without_fraud_is_told_with_its_time() -> None:
    times, labels = history(40)
    labels[(times >= START_MS + 9 * DAY_MS) & (times < START_MS + 31 * DAY_MS)] = np.nan
    text = told(times, labels)
    assert "the training period, 2026-01-11 00:00 to 2026-01-30 22:00, must have frauds" in text
    assert "of its 0 labelled events 0 are frauds" in text
    assert "warm_up_days" in text


def test_a_share_of_the_accounts_validates_and_what_only_teaches_stays_on_its_side() -> None:
    accounts = [f"{at}{suffix}" for at in range(2_000) for suffix in ("", "~short")]
    labels = np.tile(np.array([0.0, 0.0, 1.0, 1.0, np.nan], dtype=np.float32), 800)
    config = CONFIG.changed(validation_share=0.2)
    found = split(np.full(4_000, START_MS), labels, config, accounts)
    own = np.array(["~" not in each for each in accounts])
    validating = {accounts[at] for at in np.flatnonzero(found.validation)}
    training = {accounts[at].partition("~")[0] for at in np.flatnonzero(found.training)}
    assert not found.validation[~own].any()
    assert not validating & training
    assert 0.17 < found.validation[own].mean() / 0.8 < 0.23
    assert (found.training | found.validation)[own & ~np.isnan(labels)].all()
    with pytest.raises(HistoryError, match="the validation accounts must have frauds"):
        split(np.full(2, START_MS), labels[1:3], config.changed(validation_share=1e-3), ["a", "b"])


def test_cutting_needs_no_torch() -> None:
    code = (
        "import sys, models.periods, models.datacheck, models.draft; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
