"""The configuration files that come with riskstream."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from models.packs.registry import load_schema, pack_folder
from streams.configuration import load_settings
from tests.deploy.files import ROOT

FILES = sorted((ROOT / "config").glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_loads(path: Path) -> None:
    load_settings(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_holds_no_secret(path: Path) -> None:
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    assert not {"sasl_username", "sasl_password"} & set(values.get("broker", {}))
    assert "@" not in values.get("state", {}).get("url", "")


def test_all_are_there() -> None:
    assert [path.stem for path in FILES] == ["embedded", "handbook", "production"]


@pytest.mark.parametrize("commented", ["replication_factor = 3", 'security_protocol = "SASL_SSL"'])
def test_production_s_suggestions_are_settings(commented: str, tmp_path: Path) -> None:
    text = (ROOT / "config/production.toml").read_text(encoding="utf-8")
    path = tmp_path / "changed.toml"
    path.write_text(text.replace(f"# {commented}", commented), encoding="utf-8")
    assert f"# {commented}" in text
    assert load_settings(path) != load_settings(ROOT / "config/production.toml")


def test_embedded_is_for_this_machine() -> None:
    settings = load_settings(ROOT / "config/embedded.toml")
    assert settings.broker.bootstrap.startswith("127.0.0.1:")
    assert settings.worker.web_host == "127.0.0.1"


def test_handbook_maps_every_field_of_the_fraud_pack() -> None:
    schema = load_schema(pack_folder("fraud"))
    mapped = schema.with_paths(load_settings(ROOT / "config/handbook.toml").fields)
    assert {field.name: field.path for field in mapped.fields} == {
        "event_id": "TRANSACTION_ID",
        "event_time": "TX_DATETIME",
        "account": "CUSTOMER_ID",
        "terminal": "TERMINAL_ID",
        "amount": "TX_AMOUNT",
        "fraud": "TX_FRAUD",
    }
