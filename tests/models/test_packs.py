from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import ConfigError, SchemaError
from models.checks import FAMILIES as FAMILY_NAMES
from models.config import load_train_config
from models.packs.registry import load_schema, pack_folder, pack_names
from riskstream.training_options import setting, training_settings


@pytest.mark.parametrize("name", pack_names())
def test_a_pack_is_complete(name: str) -> None:
    folder = pack_folder(name)
    assert load_schema(folder).event_id
    assert load_train_config(folder).scorer.pack == name


def test_a_misspelt_pack_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigError, match="did you mean 'fraud'"):
        pack_folder("froud")


def test_finding_a_pack_needs_no_torch() -> None:
    code = "import sys, models.packs.registry as r; r.pack_names(); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_a_folder_without_a_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"schema\.toml"):
        load_schema(tmp_path)


def test_an_unknown_setting_is_refused_with_a_hint(tmp_path: Path) -> None:
    source = pack_folder("fraud")
    (tmp_path / "scorer.toml").write_text((source / "scorer.toml").read_text())
    (tmp_path / "training.toml").write_text("epoch = 3\n")
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        load_train_config(tmp_path)


def test_the_shared_entities_of_a_pack_are_read_in_hours() -> None:
    terminal, lately, account = load_train_config(pack_folder("fraud")).scorer.shared
    assert (terminal.input, terminal.bucket_s, terminal.grace_s) == (
        "shared_terminal",
        12 * 3600,
        900,
    )
    assert (lately.input, lately.field) == ("shared_terminal_lately", "terminal")
    assert terminal.takes_labels
    assert account.buckets * account.bucket_s == 21 * 86_400


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ("bucket_hours = 12", "bucket_hours"),
        ('source = "label"', "source"),
        ('measure = "positive"', "positive"),
    ],
)
def test_a_shared_entity_that_is_not_whole_is_refused(
    wrong: str, found: str, tmp_path: Path
) -> None:
    text = (pack_folder("fraud") / "scorer.toml").read_text()
    other = {"measure": 'measure = "positives"'}.get(wrong.split()[0], "")
    (tmp_path / "scorer.toml").write_text(text.replace(wrong, other, 1))
    (tmp_path / "training.toml").write_text("")
    with pytest.raises(ConfigError, match=found):
        load_train_config(tmp_path)


def pack_with(folder: Path, training: str) -> Path:
    """A folder with the fraud pack's scorer and these settings of a training."""
    folder.mkdir(exist_ok=True)
    (folder / "scorer.toml").write_text((pack_folder("fraud") / "scorer.toml").read_text())
    (folder / "training.toml").write_text(training)
    return folder


def test_another_family_takes_its_own_default_options(tmp_path: Path) -> None:
    folder = pack_with(tmp_path, "epochs = 3")
    assert load_train_config(folder, "mlp").scorer.cell.options == {}
    assert load_train_config(folder, "gru") == load_train_config(folder)


FAMILIES = """
epochs = 3
learning_rate = 1e-3
[families.mlp]
learning_rate = 3e-3
hidden = [32]
dropout = 0.25
[families.gru.cell]
size = 24
"""


def test_a_family_has_settings_of_its_own(tmp_path: Path) -> None:
    folder = pack_with(tmp_path, FAMILIES)
    mlp, gru, cnn = (load_train_config(folder, family) for family in ("mlp", "gru", "cnn"))
    assert (mlp.epochs, mlp.learning_rate) == (3, 3e-3)
    assert (mlp.scorer.hidden, mlp.scorer.dropout) == ((32,), 0.25)
    assert (gru.learning_rate, gru.scorer.cell.options) == (1e-3, {"size": 24})
    assert (cnn.learning_rate, cnn.scorer.hidden) == (1e-3, gru.scorer.hidden)
    assert load_train_config(folder) == gru
    told = mlp.to_dict()
    assert (told["learning_rate"], told["scorer"]["hidden"]) == (3e-3, (32,))
    assert "families" not in told


@pytest.mark.parametrize(
    ("training", "found"),
    [
        ("[families.lstm]\nepochs = 3", "must be one of gru, cnn, attention, mlp"),
        ("[families.mlp]\nlearning_rat = 1e-3", r"families\.mlp.*did you mean 'learning_rate'"),
        ("[families.mlp]\nscorer = 1", "known settings, however: 'scorer'"),
        ("[families.mlp]\nepochs = 0", r"families\.mlp.*epochs must be above 0"),
        ("[families.mlp]\nhidden = [0]", "hidden must be a list of whole numbers"),
        ("[families.mlp]\nhidden = 64", "hidden must be a list of whole numbers"),
        ("[families.gru]\ncell = 3", "cell must be a table"),
        ("[families]\ngru = 3", "families .* must be tables"),
        ("families = 3", "families .* must be tables"),
        ("epochs = 'many'", "epochs must be a whole number, however: 'many'"),
        ("epochs = 2.5", "epochs must be a whole number"),
        ("learning_rate = true", "learning_rate must be a number"),
    ],
)
def test_a_setting_that_is_wrong_is_refused(training: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=found):
        load_train_config(pack_with(tmp_path, training))


def test_the_names_of_the_families_are_those_that_can_be_built() -> None:
    cells = pytest.importorskip("models.cells.registry")
    assert set(FAMILY_NAMES) == set(cells.CELLS)


def test_a_setting_on_the_command_line_is_read_as_toml_reads_it() -> None:
    assert setting("epochs=3") == ("epochs", 3)
    assert setting("precision=bfloat16") == ("precision", "bfloat16")
    assert setting("cell={size = 8}") == ("cell", {"size": 8})
    with pytest.raises(ConfigError, match="NAME=VALUE, however: 'epochs'"):
        setting("epochs")


def test_the_command_line_is_over_the_familys_settings(tmp_path: Path) -> None:
    folder = pack_with(tmp_path, FAMILIES)
    config = training_settings(folder, "mlp", ["learning_rate=0.5"], epochs=7, seed=None)
    assert (config.learning_rate, config.epochs, config.scorer.hidden) == (0.5, 7, (32,))
    gru = training_settings(folder, None, ["dropout=0.5"])
    assert (gru.scorer.dropout, gru.scorer.cell.options) == (0.5, {"size": 24})
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        training_settings(folder, None, ["epoch=3"])
