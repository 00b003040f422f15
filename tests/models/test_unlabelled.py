"""Events without a label build up what is known, and are in no loss and in no figure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from engine.columns import Columns
from engine.shared import Measure, Quantity, SharedEntity, Source
from models.config import Part
from models.data import FeatureTable, account_hashes, by_account, feature_table
from models.learner import Learner, Material, validation_logits
from models.periods import split
from models.scorer import Scorer
from models.training import fit_scales, train
from tests.models.tools import DAY_MS, SCHEMA, planted_history, scorer_config, train_config

TERMINAL = SharedEntity(
    *("terminal", "terminal", 21_600, 60, 3_600),
    (
        Quantity("known", Source.LABEL, Measure.COUNT),
        Quantity("frauds", Source.LABEL, Measure.POSITIVE),
    ),
)
FEATURES = (
    *(Part("amount"), Part("recency"), Part("windows"), Part("spread")),
    Part("entity_windows", {"entity": "terminal", "quantities": ["known", "frauds"], "days": [14]}),
)
SCORER = replace(scorer_config(), features=FEATURES, shared=(TERMINAL,))
CONFIG = train_config(epochs=1, scorer=SCORER)


def table_of(columns: Columns, labels: NDArray[np.float32]) -> tuple[Scorer, FeatureTable]:
    torch.manual_seed(0)
    scorer = Scorer(SCHEMA, CONFIG.scorer)
    histories = by_account(account_hashes(columns, SCHEMA))
    return scorer, feature_table(scorer, columns, histories, labels, 2 * DAY_MS)


def partly_labelled() -> tuple[Columns, NDArray[np.float32], NDArray[np.float32]]:
    """A history, all its labels, and those that are known: two in three."""
    columns, labels = planted_history(accounts=60)
    hidden = np.random.default_rng(1).random(len(labels)) < 1 / 3
    return columns, labels, np.where(hidden, np.float32(np.nan), labels)


def test_the_state_of_the_account_is_that_of_all_events() -> None:
    columns, labels, known = partly_labelled()
    scorer, full = table_of(columns, labels)
    _, part = table_of(columns, known)
    own = [at for at, each in enumerate(scorer.outputs) if each.group != "terminal"]
    assert own
    torch.testing.assert_close(part.columns[:, own], full.columns[:, own], rtol=0, atol=0)


def test_the_buckets_of_an_entity_count_known_labels_only() -> None:
    columns, _, known = partly_labelled()
    scorer, part = table_of(columns, known)
    place = [each.name for each in scorer.outputs].index("terminal_known_14d")
    counted = part.columns[:, place].numpy()
    bucket_ms = TERMINAL.bucket_s * 1000
    known_in = (columns.event_time_ms + 2 * DAY_MS) // bucket_ms
    shop, has_label = columns.values["terminal"], ~np.isnan(known)
    for row in range(0, len(columns), 97):
        closed = TERMINAL.closed(columns.event_time_ms[row : row + 1])[0]
        inside = (known_in <= closed) & (known_in > closed - 14 * DAY_MS // bucket_ms)
        assert counted[row] == (inside & has_label & (shop == shop[row])).sum()


def test_nothing_at_all_is_known_without_labels() -> None:
    columns, labels, _ = partly_labelled()
    scorer, none = table_of(columns, np.full_like(labels, np.nan))
    places = [at for at, each in enumerate(scorer.outputs) if "_known_" in each.name]
    assert not none.columns[:, places].any()


def test_the_loss_and_the_weights_do_not_depend_on_what_stands_for_unknown() -> None:
    columns, _, known = partly_labelled()
    periods = split(columns.event_time_ms, known, CONFIG)
    histories = by_account(account_hashes(columns, SCHEMA))
    found = []
    for stand_in in (0.0, 1.0):
        scorer, table = table_of(columns, known)
        filled = torch.from_numpy(np.nan_to_num(known, nan=stand_in))
        fresh = torch.from_numpy(~table.duplicate)
        material = Material(histories, table.columns, fresh, filled, periods)
        fit_scales(scorer, material, 0)
        learner = Learner(scorer, material, replace(CONFIG, negatives=1.0))
        torch.manual_seed(0)
        loss = learner.epoch()
        found.append((loss, validation_logits(learner.averaged, material)))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])
    assert len(found[0][1]) == periods.validation.sum()


def test_the_facts_of_a_training_count_known_labels() -> None:
    columns, _, known = partly_labelled()
    facts = train(columns, known, SCHEMA, CONFIG).facts
    periods = split(columns.event_time_ms, known, CONFIG)
    assert not np.isnan(known[periods.training | periods.validation]).any()
    assert facts["events"] == len(columns)
    for name, period in (("training", periods.training), ("validation", periods.validation)):
        assert facts[name]["events"] == period.sum()
        assert facts[name]["positives"] == (known[period] > 0.5).sum()
