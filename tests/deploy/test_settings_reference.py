"""The reference of the settings agrees with the settings."""

from __future__ import annotations

import tomllib
from pathlib import Path

from riskstream.settings_reference import reference_markdown, reference_toml
from streams.configuration import load_settings, setting_names, variable_of
from streams.settings import Settings
from tests.deploy.files import ROOT

NOT_SET = {
    "broker.ssl_ca_file",
    "model.bundle",
    "model.review_threshold",
    "model.decline_threshold",
}


def test_the_docs_are_up_to_date() -> None:
    written = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert written == reference_markdown(), (
        "renew it: python -m riskstream.settings_reference > docs/configuration.md"
    )


def test_toml_loads_as_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "riskstream.toml"
    path.write_text(reference_toml(), encoding="utf-8")
    assert load_settings(path) == Settings()


def test_toml_holds_every_setting_that_has_a_default() -> None:
    values = tomllib.loads(reference_toml())
    held = {f"{section}.{name}" for section in values for name in values[section]}
    assert held == set(setting_names()) - NOT_SET


def test_toml_comments_out_what_is_not_set() -> None:
    for name in NOT_SET:
        assert f"\n# {name.split('.')[1]} = …\n" in reference_toml()


def test_every_setting_is_explained() -> None:
    toml, markdown = reference_toml(), reference_markdown()
    for name in setting_names():
        section, key = name.split(".")
        description = (
            Settings.model_fields[section].annotation.model_fields[key].description  # type: ignore[union-attr]
        )
        assert description
        assert variable_of(name) in toml
        assert f"| {' '.join(description.split())} | `{variable_of(name)}` |" in markdown


def test_lines_of_the_toml_are_short() -> None:
    assert max(map(len, reference_toml().splitlines())) <= 100


def test_tables_have_five_columns() -> None:
    rows = [line for line in reference_markdown().splitlines() if line.startswith("|")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {6}
