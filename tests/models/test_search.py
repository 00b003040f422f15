"""The search for settings: its space, its judge, and that it goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ConfigError
from models.config import TrainConfig, load_train_config
from models.packs.registry import pack_folder
from models.search import Found, Search
from models.search_space import Space, load_space
from models.training import Prepared, prepare
from tests.models.tools import CONFIG, SCHEMA, planted_history, train_config

SPACE = """
[learning_rate]
low = 1e-3
high = 1e-2
log = true
[hidden]
choices = [[8], [16, 8]]
[epochs]
low = 1
high = 2
[families.gru.cell.size]
choices = [4, 8]
[families.cnn.dropout]
low = 0.0
high = 0.5
"""


def space(folder: Path, text: str = SPACE, config: TrainConfig | None = None) -> Space:
    (folder / "search.toml").write_text(text, encoding="utf-8")
    return load_space(folder, config or train_config())


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    columns, labels = planted_history(accounts=20)
    return prepare(columns, labels, SCHEMA, train_config())


def run(prepared: Prepared, found: Space, path: Path, trials: int, **other: Any) -> list[Found]:
    told: list[Found] = []
    search = Search(prepared, train_config(epochs=2, **other), found, path)
    search.run(trials, told.append)
    assert search.done == trials
    best = [each.average_precision for each in search.best()]
    assert best == sorted(best, reverse=True)
    return told


def test_a_search_goes_on_where_it_was(prepared: Prepared, tmp_path: Path) -> None:
    found, path = space(tmp_path), tmp_path / "search.db"
    first = run(prepared, found, path, 2)
    assert [each.number for each in first] == [0, 1]
    own = {"learning_rate": 5e-3, "hidden": [16], "epochs": 2, "cell": {"size": 8}}
    assert first[0].settings == {**own, "hidden": first[0].settings["hidden"]}
    again = run(prepared, found, path, 4)
    assert [each.number for each in again] == [2, 3]
    assert run(prepared, found, path, 4) == []
    settings = [each.settings for each in (*first, *again)]
    assert all(1e-3 <= each["learning_rate"] <= 1e-2 for each in settings)
    assert len({each["learning_rate"] for each in settings}) == 4
    with pytest.raises(ConfigError, match="same settings"):
        run(prepared, found, path, 5, clip=0.5)
    with pytest.raises(ConfigError, match="same space"):
        run(prepared, space(tmp_path, "[clip]\nlow = 0.5\nhigh = 2.0"), path, 5)
    other = replace(prepared, labels=1.0 - prepared.labels)
    with pytest.raises(ConfigError, match="same data"):
        run(other, found, path, 5)


def test_the_space_is_of_one_family(tmp_path: Path) -> None:
    names = [each.name for each in space(tmp_path).dimensions]
    assert names == ["learning_rate", "hidden", "epochs", "cell.size"]
    mlp = space(tmp_path, config=train_config().with_family("cnn"))
    assert [each.name for each in mlp.dimensions] == [
        "learning_rate",
        "hidden",
        "epochs",
        "dropout",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[learning_rat]\nlow = 1\nhigh = 2", "did you mean 'learning_rate'"),
        ("[epochs]\nlow = 3", "must have choices, or a low and a higher high"),
        ("[epochs]\nlow = 3\nhigh = 3", "higher high"),
        ("[clip]\nlow = 0.0\nhigh = 3.0\nlog = true", "above 0 with log"),
        ("[epochs]\nlow = 1\nhigh = 3\nsteps = 1", "must have choices"),
        ("[hidden]\nchoices = []", "must have choices"),
        ("epochs = 3", "a table for each setting"),
        ("[families.lstm.epochs]\nlow = 1\nhigh = 2", "must be one of gru"),
        ("", "must name settings"),
        ("[", "must be TOML"),
    ],
)
def test_a_space_that_is_wrong_is_refused(text: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=found):
        space(tmp_path, text)


def test_a_pack_without_a_space_takes_the_fraud_packs(tmp_path: Path) -> None:
    assert load_space(tmp_path, CONFIG) == load_space(pack_folder("fraud"), CONFIG)


@pytest.mark.parametrize("family", ["gru", "cnn", "attention", "mlp"])
def test_every_setting_of_the_fraud_packs_space_can_be_trained(family: str) -> None:
    config = load_train_config(pack_folder("fraud"), family)
    found = load_space(pack_folder("fraud"), config)
    for at in range(2):
        ends: dict[str, Any] = {}
        for each in found.dimensions:
            value = each.choices[-at] if each.choices else (each.low, each.high)[at]
            table = ends.setdefault("cell", {}) if each.name.startswith("cell.") else ends
            table[each.name.removeprefix("cell.")] = value
        assert config.with_family(family, ends).scorer.cell.name == family


def test_a_file_that_is_no_study_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    (tmp_path / "search.db").write_text("no database, however long it may be " * 40)
    with pytest.raises(ConfigError, match="SQLite file of a search"):
        Search(prepared, train_config(), space(tmp_path), tmp_path / "search.db")
