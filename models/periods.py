"""Cutting a history by time into what trains and what validates. Needs no PyTorch.

In the order of time: the warm-up, the training, a gap of the labels' delay, the validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from engine.errors import HistoryError
from engine.hashing import hash_strings
from models.config import TRAINING_FILE, TrainConfig

DAY_MS = 86_400_000

#: Stands, in the name of an account that only teaches, behind the name of the one it is made of.
TEACHES = "~"

#: What to do where a period lacks a kind of event.
_ADVICE = {
    "training": (
        "give a history that begins earlier, or change warm_up_days, label_delay_days or "
        f"validation_days in {TRAINING_FILE}"
    ),
    "validation": (
        "end the history with --until where its labels are known, or change validation_days in "
        f"{TRAINING_FILE}"
    ),
}


@dataclass(frozen=True, slots=True)
class Periods:
    """Which events train, and which validate; bool ``[n]`` each."""

    training: NDArray[np.bool_]
    validation: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bounds:
    """When the periods begin and end, in ms since 1970; an end is the first moment after.

    Args:
        train_from, train_until: the training.
        validate_from, end: the validation.
    """

    train_from: int
    train_until: int
    validate_from: int
    end: int

    @classmethod
    def of(cls, first_ms: int, last_ms: int, config: TrainConfig) -> Bounds:
        """Return the bounds for a history from its first event to its last."""
        end = last_ms + 1
        validate_from = end - round(config.validation_days * DAY_MS)
        return cls(
            train_from=first_ms + round(config.warm_up_days * DAY_MS),
            train_until=validate_from - round(config.label_delay_days * DAY_MS),
            validate_from=validate_from,
            end=end,
        )


def split(
    event_time_ms: NDArray[np.int64],
    labels: NDArray[np.float32],
    config: TrainConfig,
    accounts: Sequence[str] = (),
) -> Periods:
    """Cut a history by time: warm-up, training, a gap of the labels' delay, validation.

    Args:
        event_time_ms: in ms since 1970, ascending; int64 ``[n]``.
        labels: 1 fraud, 0 genuine, NaN unknown; float32 ``[n]``. An event of unknown label is in
            neither period.
        config: how long the periods are, or which share of the accounts validates.
        accounts: the events' accounts, for that.

    Raises:
        HistoryError: it is not sorted by time, is too short, or it or a period has no fraud or no
            genuine event.
    """
    if len(event_time_ms) == 0 or (np.diff(event_time_ms) < 0).any():
        raise HistoryError("a history must be sorted by time and not empty; sort it by event time")
    if config.validation_share:
        return _by_account(labels, config, accounts)
    bounds = Bounds.of(int(event_time_ms[0]), int(event_time_ms[-1]), config)
    if bounds.train_from >= bounds.train_until:
        raise HistoryError(_too_short(event_time_ms, config))
    check_classes(labels)
    known = ~np.isnan(labels)
    times = event_time_ms
    training = known & (times >= bounds.train_from) & (times < bounds.train_until)
    validation = known & (times >= bounds.validate_from)
    _check_period("training", labels[training], (bounds.train_from, bounds.train_until))
    _check_period("validation", labels[validation], (bounds.validate_from, bounds.end))
    return Periods(training, validation)


def _by_account(
    labels: NDArray[np.float32], config: TrainConfig, accounts: Sequence[str]
) -> Periods:
    """Let a share of the accounts validate, as the hash of their names chooses them."""
    check_classes(labels)
    known = ~np.isnan(labels)
    drawn = hash_strings([each.partition(TEACHES)[0] for each in accounts]) & 0xFFFF
    chosen = drawn < round(config.validation_share * 0x10000)
    teaches = np.array([TEACHES in each for each in accounts], dtype=np.bool_)
    training, validation = known & ~chosen, known & chosen & ~teaches
    for name, period in (("training", training), ("validation", validation)):
        _check_labels(f"the {name} accounts", labels[period], "give a history of more accounts")
    return Periods(training, validation)


def check_classes(labels: NDArray[np.float32]) -> None:
    """Raise :class:`HistoryError` where a history's labels, float32 ``[n]``, are all alike."""
    known = labels[~np.isnan(labels)]
    frauds = int((known > 0.5).sum())
    if 0 < frauds < len(known):
        return
    found = f"all {len(known):,} known labels are {'fraud' if frauds else 'genuine'}"
    if not len(known):
        found = f"none of {len(labels):,} events has a label"
    raise HistoryError(
        f"a history must have frauds and genuine events, however: {found}; check which column is "
        "the label, and map it with --field"
    )


def _check_period(name: str, labels: NDArray[np.float32], bounds: tuple[int, int]) -> None:
    """Raise :class:`HistoryError` where a period's known labels are all alike."""
    start, end = map(_written, bounds)
    _check_labels(f"the {name} period, {start} to {end},", labels, _ADVICE[name])


def _check_labels(what: str, labels: NDArray[np.float32], advice: str) -> None:
    frauds = int((labels > 0.5).sum())
    if 0 < frauds < len(labels):
        return
    raise HistoryError(
        f"{what} must have frauds and genuine events, however: of its {len(labels):,} labelled "
        f"events {frauds:,} are frauds; {advice}"
    )


def _too_short(times: NDArray[np.int64], config: TrainConfig) -> str:
    days = (int(times[-1]) - int(times[0])) / DAY_MS
    parts = {
        "warm_up_days": config.warm_up_days,
        "label_delay_days": config.label_delay_days,
        "validation_days": config.validation_days,
    }
    told = " + ".join(f"{name} {value:g}" for name, value in parts.items())
    return (
        f"a history must be longer than {sum(parts.values()):g} days ({told}), however: its "
        f"{len(times):,} events span {days:.1f} days, {_written(int(times[0]))} to "
        f"{_written(int(times[-1]))}; give a longer one, or shorter periods in {TRAINING_FILE}"
    )


def _written(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
