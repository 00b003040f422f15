from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.additions import Labels
from engine.errors import ConfigError, HistoryError
from engine.knowledge import Knowledge
from engine.shared import kept_column
from models.config import TrainConfig
from models.data import account_hashes, by_account, feature_table
from models.periods import split
from models.scorer import Scorer
from models.training import TrainedScorer, train
from tests.models.learning import Told
from tests.models.tools import (
    DAY_MS,
    SCHEMA,
    START_MS,
    batch,
    planted_history,
    train_config,
    unknown,
    zeros,
)


def usual_then(trained: TrainedScorer, amount: float) -> tuple[float, list[float]]:
    """Return score and contributions of an amount after a month of ordinary ones of 40."""
    scorer = trained.scorer
    shared = usual_terminal(scorer)
    state, time_ms = zeros(scorer, 1), START_MS
    with torch.inference_mode():
        for at in range(30):
            time_ms += DAY_MS
            events = batch([at], [time_ms], [at % 5], [38.0 + at % 5])
            state = scorer.step(events, state, shared).state
        events = batch([99], [time_ms + DAY_MS], [2], [amount])
        pushed = scorer.explain(events, state, shared).contributions[0].tolist()
        return scorer.step(events, state, shared).score.item(), pushed


def usual_terminal(scorer: Scorer) -> dict[str, Tensor]:
    """Return buckets like those of the planted history's terminals; the account has no frauds."""
    found = unknown(scorer, 1)
    found["shared_terminal"][:, :, 0] = 3.0
    found["shared_terminal"][:, ::10, 1:] = 1.0
    return found


def test_a_planted_signal_is_learnt(trained: TrainedScorer) -> None:
    assert trained.metrics["average_precision"] > 0.95
    ordinary, _ = usual_then(trained, 40.0)
    attack, _ = usual_then(trained, 200.0)
    assert ordinary < 0.05
    assert attack > 0.8
    assert ordinary < trained.thresholds.review <= trained.thresholds.decline


def test_the_planted_cause_is_the_first_reason(trained: TrainedScorer) -> None:
    _, pushed = usual_then(trained, 200.0)
    names = [each.name for each in trained.scorer.reasons]
    assert names[int(np.argmax(pushed))] == "amount"


def test_the_same_seed_gives_the_same_model() -> None:
    columns, labels = planted_history(accounts=80)
    runs = [train(columns, labels, SCHEMA, train_config(epochs=1)) for _ in range(2)]
    first, second = (run.scorer.state_dict() for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_progress_is_told_after_each_epoch() -> None:
    columns, labels = planted_history(accounts=80)
    told = Told()
    train(columns, labels, SCHEMA, train_config(epochs=2), told)
    assert told.epochs == [1, 2]
    assert told.features_done == (len(columns), len(columns))
    assert told.figures[0].keys() == {"loss", "auc_roc", "average_precision"}


def test_the_periods_leave_a_gap_of_the_labels_delay() -> None:
    columns, labels = planted_history()
    labels[:1000:7] = np.nan
    config = train_config()
    periods = split(columns.event_time_ms, labels, config)
    times = columns.event_time_ms
    last, first = times[periods.training].max(), times[periods.validation].min()
    assert first - last >= config.label_delay_days * DAY_MS
    assert times[periods.training].min() - times[0] >= config.warm_up_days * DAY_MS
    assert not np.isnan(labels[periods.training | periods.validation]).any()


@pytest.mark.parametrize("fault", ["unsorted", "no_fraud", "short"])
def test_a_history_that_cannot_train_is_refused(fault: str) -> None:
    columns, labels = planted_history(accounts=20)
    times = columns.event_time_ms
    if fault == "unsorted":
        times = times[::-1]
    elif fault == "no_fraud":
        labels = np.zeros_like(labels)
    else:
        times, labels = times[:100], labels[:100]
    with pytest.raises(HistoryError, match="must"):
        split(times, labels, train_config())


def test_a_setting_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="negatives"):
        train_config(negatives=0.0)
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        train_config(epoch=1)
    assert isinstance(train_config(), TrainConfig)


def test_the_feature_table_is_what_step_sees_event_by_event() -> None:
    columns, labels = planted_history(accounts=6, days=12)
    scorer = Scorer(SCHEMA, train_config().scorer).eval()
    histories = by_account(account_hashes(columns, SCHEMA))
    table = feature_table(scorer, columns, histories, labels, 2 * DAY_MS)
    states = {name: zeros(scorer, 1) for name in set(columns.accounts)}
    knowledge = Knowledge(SCHEMA, scorer.shared)
    for row, account in enumerate(columns.accounts):
        own = columns.take(np.array([row]))
        events = {name: torch.from_numpy(own.values[name]) for name in scorer.inputs}
        shared = {name: torch.from_numpy(part) for name, part in knowledge.read(own).items()}
        made, _, states[account] = scorer.features(events, states[account], shared)
        ratio = made[:, [each.name for each in scorer.outputs].index("ratio")].numpy()
        own = replace(own, values={**own.values, kept_column("ratio"): ratio})
        knowledge.add_events(own, np.array([True]))
        known_ms = own.event_time_ms + 2 * DAY_MS
        knowledge.add_labels(Labels.of(SCHEMA, own, labels[row : row + 1], known_ms))
        torch.testing.assert_close(table.columns[row], made[0])
