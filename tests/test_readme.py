"""What README and the docs show is real: commands, configuration, and links."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from streams.configuration import load_settings
from tests.deploy.commands import parse

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    inline = re.findall(r"`(riskstream [^`]+|docker compose [^`]+|make [a-z]+)`", README)
    shown = [line for line in [*lines, *inline] if line.strip() and "→" not in line]
    return [line.split("#")[0].strip(" &") for line in shown]


@pytest.mark.parametrize("command", [each for each in commands() if each.startswith("riskstream ")])
def test_commands_exist_with_their_options(command: str) -> None:
    words = shlex.split(command.split(">")[0])[1:]
    if words[0] == "bundle":
        assert words[1] in ("show", "verify")
    elif len(words) > 1:
        parse(words)


@pytest.mark.parametrize("command", [each for each in commands() if each.startswith("make ")])
def test_targets_exist(command: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{command.split()[1]}:", makefile, flags=re.MULTILINE)


def test_configuration_is_valid(tmp_path: Path) -> None:
    found = blocks("toml")
    assert found
    for at, block in enumerate(found):
        path = tmp_path / f"{at}.toml"
        path.write_text(block, encoding="utf-8")
        load_settings(path)


def test_json_is_json() -> None:
    for block in blocks("json"):
        json.loads(block)


@pytest.mark.parametrize("document", ["README.md", "CHANGELOG.md", "docs/configuration.md"])
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target
