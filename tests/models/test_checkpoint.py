"""A training that is interrupted goes on to the same result, or says why it cannot."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import ConfigError
from models.checkpoint import CHECKPOINT_FILE, Checkpoint, checkpoint_of
from models.fitting import Fitting
from models.training import train
from tests.models.learning import History, Told, learner_of, small_history, weights
from tests.models.tools import SCHEMA, planted_history, train_config


@pytest.fixture(scope="module")
def history() -> History:
    return small_history()


#: With all that draws random numbers, or keeps something from batch to batch.
SETTINGS = {"epochs": 4, "feature_dropout": 0.2, "precision": "float16"}


def fitting(history: History, told: Told, folder: Path | None, **settings: object) -> Fitting:
    """The epochs of a small training, kept in a folder."""
    learner = learner_of(history, **{**SETTINGS, **settings})
    checkpoint = folder and checkpoint_of(folder, learner.config, *history, SCHEMA)
    return Fitting(learner, told, checkpoint)


@pytest.mark.parametrize("family", ["gru", pytest.param("attention", marks=pytest.mark.slow)])
def test_interrupted_and_resumed_gives_the_same_weights(
    family: str, history: History, tmp_path: Path
) -> None:
    straight = fitting(history, Told(), None, family=family)
    expected = straight.run().state_dict()
    with pytest.raises(KeyboardInterrupt):
        fitting(history, Told(stop_after=2), tmp_path, family=family).run()
    told = Told()
    resumed = fitting(history, told, tmp_path, family=family)
    found = resumed.run().state_dict()
    assert told.resumed_after == 2
    assert told.epochs == [3, 4]
    assert torch.equal(weights(resumed.learner), weights(straight.learner))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_training_that_is_done_is_not_done_again(history: History, tmp_path: Path) -> None:
    first = fitting(history, Told(), tmp_path, epochs=2).run().state_dict()
    told = Told()
    second = fitting(history, told, tmp_path, epochs=2).run().state_dict()
    assert (told.resumed_after, told.epochs) == (2, [])
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_patience_is_kept_too(history: History, tmp_path: Path) -> None:
    settings = {"epochs": 8, "patience": 1, "learning_rate": 1e-9, "average": 0.0}
    told = Told()
    fitting(history, told, tmp_path / "straight", **settings).run()
    assert 1 < len(told.epochs) < 8
    for last in range(1, len(told.epochs)):
        with pytest.raises(KeyboardInterrupt):
            fitting(history, Told(stop_after=last), tmp_path, **settings).run()
    again = Told()
    fitting(history, again, tmp_path, **settings).run()
    assert again.epochs == [len(told.epochs)]


def test_a_whole_training_goes_on_with_the_events_it_had(tmp_path: Path) -> None:
    columns, labels = planted_history(accounts=25)
    config = train_config(epochs=2)
    kept = checkpoint_of(tmp_path, config, columns, labels, SCHEMA)
    straight = train(columns, labels, SCHEMA, config)
    with pytest.raises(KeyboardInterrupt):
        train(columns, labels, SCHEMA, config, Told(stop_after=1), kept)
    resumed = train(columns, labels, SCHEMA, config, Told(), kept)
    expected, found = straight.scorer.state_dict(), resumed.scorer.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert resumed.thresholds == straight.thresholds
    assert resumed.facts == straight.facts
    assert resumed.facts["epochs"] == 2


@pytest.fixture
def kept(history: History, tmp_path: Path) -> Path:
    """The folder of a checkpoint."""
    with pytest.raises(KeyboardInterrupt):
        fitting(history, Told(stop_after=1), tmp_path).run()
    return tmp_path


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"epochs": 5}, "epochs is 4, and now it is 5"),
        ({"learning_rate": 1e-4}, "learning_rate is 0.005, and now it is 0.0001"),
        ({"family": "cnn"}, "scorer.cell.name is 'gru', and now it is 'cnn'"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(
    settings: dict[str, object], found: str, history: History, kept: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"same settings, however: .*{found}; give --restart"):
        fitting(history, Told(), kept, **settings)


def test_a_checkpoint_of_other_data_is_refused(history: History, kept: Path) -> None:
    columns, labels = history
    other = labels.copy()
    other[0] = 1.0 - other[0]
    amounts = columns.values["amount"].copy()
    amounts[-1] += np.float32(0.01)
    others = replace(columns, values={**columns.values, "amount": amounts})
    for changed in ((columns, other), (others, labels)):
        with pytest.raises(ConfigError, match="must be of the same data"):
            fitting(changed, Told(), kept)


def test_what_is_chosen_afterwards_may_change(history: History, kept: Path) -> None:
    told = Told()
    fitting(history, told, kept, review_share=0.02, thresholds_by="cost", threads=2)
    assert told.resumed_after == 1


class Harmful:
    """Makes a file when it is read by an unsafe reader."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("kind", ["text", "cut", "pickle", "harmful", "other"])
def test_a_file_that_is_no_checkpoint_is_refused(kind: str, history: History, kept: Path) -> None:
    path, harm = kept / CHECKPOINT_FILE, kept / "harm"
    if kind == "text":
        path.write_text("epoch 3")
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-2000])
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"format": 1, "kept": Harmful(harm)}))
    elif kind == "harmful":
        torch.save({"format": 1, "kept": Harmful(harm)}, path)
    else:
        torch.save({"format": 99}, path)
    with pytest.raises(ConfigError, match=r"a checkpoint must be .*--restart"):
        fitting(history, Told(), kept)
    assert not harm.exists()


def test_a_folder_that_cannot_be_written_ends_no_training(history: History, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = Told()
    best = fitting(history, told, tmp_path / "file" / "folder", epochs=2).run()
    assert told.epochs == [1, 2]
    assert len(told.errors) == 2
    expected = fitting(history, Told(), None, epochs=2).run().state_dict()
    assert all(torch.equal(best.state_dict()[name], expected[name]) for name in expected)


def test_an_interruption_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / CHECKPOINT_FILE, {}, "data")
    kept.write({"epoch": 1})
    with pytest.raises(AttributeError):
        kept.write({"epoch": lambda: None})
    assert kept.read() == {"epoch": 1}
    kept.remove()
    kept.remove()
    assert kept.read() is None
