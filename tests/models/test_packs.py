from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import ConfigError, SchemaError
from models.config import load_train_config
from models.packs.registry import load_schema, pack_folder, pack_names


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


def test_another_family_takes_its_own_default_options() -> None:
    config = load_train_config(pack_folder("fraud"))
    assert config.with_family("mlp").scorer.cell.options == {}
    assert config.with_family("gru") == config
