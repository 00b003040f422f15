"""The Fraud Detection Handbook's transactions, and its protocol: four folds a week apart.

A fold that starts at S trains on the events before S + 7 days (here the 90 days before it, not 7),
whose labels are known 7 days later, and is judged on the days S + 14 to S + 20, without the cards
known to be compromised by then: those with a fraud since S on a day at least 8 days before. The
features are made once, by the graph's own modules, each label known 7 days after its event.
(Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud Detection, 2022, chapter 5.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.columns import Columns
from engine.decode import Decoder, Limits
from engine.history import History
from engine.schema import Schema
from models.config import ScorerConfig
from models.data import account_hashes, by_account, feature_table
from models.evaluation import compromised
from models.features.base import DAY_MS
from models.packs.registry import load_schema, pack_folder
from models.scorer import Scorer

#: Where the first fold starts, and how far the next one is: settings are chosen on ``validation``.
FIRST = {"test": "2018-07-25", "validation": "2018-07-11"}
STEP_DAYS = {"test": 7, "validation": -7}
FOLDS = 4

LABEL_DELAY_DAYS = 7
_TRAINED_UNTIL_DAYS, _JUDGED_FROM_DAYS, _JUDGED_UNTIL_DAYS = 7, 14, 21

PATHS = {
    "event_id": "TRANSACTION_ID",
    "event_time": "TX_DATETIME",
    "account": "CUSTOMER_ID",
    "terminal": "TERMINAL_ID",
    "amount": "TX_AMOUNT",
    "fraud": "TX_FRAUD",
}

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Table:
    """All events, their labels, and their features, ``n`` rows each."""

    schema: Schema
    events: Columns
    labels: Floats
    features: torch.Tensor
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fold:
    """The rows of a fold, and which of them train and which are judged: bool ``[rows]`` each."""

    start: str
    events: Columns
    labels: Floats
    features: torch.Tensor
    training: Flags
    judged: Flags

    def last_of_training(self, days: float) -> Flags:
        """Return which rows are the last ``days`` of the training; bool ``[rows]``."""
        times = self.events.event_time_ms
        end_ms = int(times[self.training].max())
        return self.training & (times > end_ms - round(days * DAY_MS))


def load_table(path: Path, config: ScorerConfig) -> Table:
    """Read the transactions and make the features that a scorer of the fraud pack has."""
    schema = load_schema(pack_folder("fraud"))
    mapped = schema.with_paths(PATHS)
    history = History.open(path, mapped)
    decoded = history.decode(Decoder(mapped, Limits()), 1 << 42)
    assert history.labels is not None
    labels = history.labels[decoded.columns.rows]
    events = replace(decoded.columns, rows=np.arange(len(decoded.columns)))
    scorer = Scorer(schema, config)
    histories = by_account(account_hashes(events, schema))
    made = feature_table(scorer, events, histories, labels, LABEL_DELAY_DAYS * DAY_MS)
    return Table(schema, events, labels, made.columns, tuple(each.name for each in scorer.outputs))


def fold_starts(folds: str, count: int = FOLDS) -> list[str]:
    """Return the days on which the folds start.

    >>> fold_starts("validation", 2)
    ['2018-07-11', '2018-07-04']
    """
    first = np.datetime64(FIRST[folds], "D")
    return [str(first + at * STEP_DAYS[folds]) for at in range(count)]


def fold_of(table: Table, start: str, back_days: int) -> Fold:
    """Return the fold that starts on a day."""
    start_ms = int(np.datetime64(start, "ms").astype(np.int64))
    until_ms = start_ms + _TRAINED_UNTIL_DAYS * DAY_MS
    times = table.events.event_time_ms
    rows = np.flatnonzero(
        (times >= until_ms - back_days * DAY_MS) & (times < start_ms + _JUDGED_UNTIL_DAYS * DAY_MS)
    )
    events, labels = table.events.take(rows), table.labels[rows]
    late = events.event_time_ms >= start_ms + _JUDGED_FROM_DAYS * DAY_MS
    known = compromised(events, labels, since_ms=start_ms)
    training = events.event_time_ms < until_ms
    return Fold(start, events, labels, table.features[rows], training, late & ~known)
