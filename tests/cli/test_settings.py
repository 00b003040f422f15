"""``riskstream settings``: a configuration to start from, and a check of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ConfigError
from streams.configuration import load_settings
from tests.cli.running import error_line, invoke


def write(folder: Path, bootstrap: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(f"[broker]\nbootstrap = '{bootstrap}'\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("bootstrap", "found"),
    [
        ("", "''"),
        ("  ", "''"),
        ("kafka", "'kafka'"),
        ("kafka:", "'kafka:'"),
        (":9092", "':9092'"),
        ("kafka:abc", "'kafka:abc'"),
        ("kafka:99999", "'kafka:99999'"),
        ("kafka:0", "'kafka:0'"),
        ("kafka:9092:9093", "'kafka:9092:9093'"),
        ("PLAINTEXT://kafka:9092", "'PLAINTEXT://kafka:9092'"),
        ("a:9092,,b:9092", "''"),
        ("a:9092 b:9092", "'a:9092 b:9092'"),
        ("a:9092,b", "'b'"),
        ("::1:9092", "'::1:9092'"),
    ],
)
def test_an_address_of_kafka_is_host_and_port(bootstrap: str, found: str, tmp_path: Path) -> None:
    path = write(tmp_path, bootstrap)
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    rule = "broker.bootstrap must be HOST:PORT, or several with commas between"
    assert str(caught.value) == (
        f"{path} must be valid, however:\n  {rule}, with ports from 1 to 65,535, however: {found}"
    )


@pytest.mark.parametrize(
    ("bootstrap", "wanted"),
    [
        ("kafka:9092", "kafka:9092"),
        (" kafka-1.internal:9092 ,\tkafka_2:65535 ", "kafka-1.internal:9092,kafka_2:65535"),
        ("127.0.0.1:1,[::1]:9092", "127.0.0.1:1,[::1]:9092"),
    ],
)
def test_several_addresses_of_kafka_may_have_blanks(
    bootstrap: str, wanted: str, tmp_path: Path
) -> None:
    assert load_settings(write(tmp_path, bootstrap)).broker.bootstrap == wanted


def test_a_wrong_address_is_one_line_of_every_command(tmp_path: Path) -> None:
    done = invoke("topics", cwd=tmp_path, RISKSTREAM_BROKER__BOOTSTRAP="kafka:abc")
    assert done.returncode == 2
    error_line(done)
    assert "broker.bootstrap must be HOST:PORT" in done.stderr
