"""Help, usage errors, the version, and the settings."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from inspect import cleandoc
from pathlib import Path
from typing import Any

import pytest
import typer

from riskstream.main import new_app
from streams.configuration import load_settings
from tests.cli.running import error_line, invoke, riskstream

GROUP: Any = typer.main.get_command(new_app())
NARROWEST = 78


def commands(group: Any, *before: str) -> list[tuple[str, ...]]:
    """Every command as its words."""
    found = []
    for name, command in group.commands.items():
        words = (*before, name)
        found += commands(command, *words) if hasattr(command, "commands") else [words]
    return found


def help_of(words: tuple[str, ...]) -> str:
    command = GROUP
    for word in words:
        command = command.commands[word]
    return cleandoc(command.help)


COMMANDS = commands(GROUP)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_each_command_has_help_with_an_example(words: tuple[str, ...], tmp_path: Path) -> None:
    done = invoke(*words, "--help", cwd=tmp_path, COLUMNS="80")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    usage, _, after = done.stdout.partition("Examples")
    assert f"riskstream {' '.join(words)}" in usage
    assert f"riskstream {' '.join(words)}" in after


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_line_of_help_is_broken_in_a_terminal_of_80_columns(words: tuple[str, ...]) -> None:
    _, *paragraphs = help_of(words).split("\n\n")
    lines = "\n".join(paragraphs).splitlines()
    assert [line for line in lines if len(line) > NARROWEST] == []


@pytest.mark.parametrize("words", [("train",), ("search",), ("evaluate",)], ids=" ".join)
def test_help_names_the_extra(words: tuple[str, ...], tmp_path: Path) -> None:
    assert "riskstream[train]" in invoke(*words, "--help", cwd=tmp_path).stdout


@pytest.mark.parametrize("words", [(), ("bundle",)], ids=["riskstream", "bundle"])
def test_no_command_is_help(words: tuple[str, ...], tmp_path: Path) -> None:
    done = invoke(*words, cwd=tmp_path)
    shown = done.stdout + done.stderr
    for name in ("show", "verify") if words else GROUP.commands:
        assert f" {name} " in shown


def test_help_tells_the_exit_codes(tmp_path: Path) -> None:
    done = riskstream("-h", cwd=tmp_path)
    assert done.returncode == 0
    assert "Exit codes: 0 done; 1 something failed" in " ".join(done.stdout.split())


def test_version(tmp_path: Path) -> None:
    done = invoke("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"riskstream {version('riskstream')}\n")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("scroe",), "scroe"),
        (("score", "--bundel", "x"), "--bundel"),
        (("score",), "file"),
        (("bundle", "delete"), "delete"),
        (("train", "fraud"), "--data"),
        (("demo", "--rate", "0"), "--rate"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_names_what_is_wrong(
    words: tuple[str, ...], named: str, tmp_path: Path
) -> None:
    done = invoke(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_print_a_configuration_that_loads(tmp_path: Path) -> None:
    done = riskstream("settings", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "riskstream.toml"
    path.write_text(done.stdout, encoding="utf-8")
    assert tomllib.loads(done.stdout)["app"]["id"] == "riskstream"
    assert load_settings(path) == load_settings()
    assert invoke("settings", "--config", path, cwd=tmp_path).returncode == 0


def test_settings_check_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[broker]\nbootstrp = 'kafka:9092'\n", encoding="utf-8")
    done = invoke("settings", "--config", path, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert str(path) in error_line(done)
    assert "broker.bootstrp: there is no such setting; did you mean broker.bootstrap?" in (
        done.stderr
    )


def test_a_pack_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = invoke("demo", "frud", cwd=tmp_path)
    assert done.returncode == 2
    assert "'frud'; did you mean 'fraud'?" in error_line(done)
    assert list(tmp_path.iterdir()) == []
