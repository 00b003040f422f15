"""The Dockerfile and .dockerignore, without an engine to build them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths

from streams.configuration import load_settings
from tests.deploy.commands import answer_probe, parse
from tests.deploy.files import ROOT, dockerfile

INSTRUCTIONS = dockerfile()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
PATTERNS = [line for line in IGNORED if line and not line.startswith("#")]


def _last(name: str) -> str:
    return [rest for each, rest in INSTRUCTIONS if each == name][-1]


def _sources() -> list[str]:
    copies = [rest.split() for name, rest in INSTRUCTIONS if name == "COPY"]
    return [
        path.rstrip("/")
        for copy in copies
        if not copy[0].startswith("--from")
        for path in copy[:-1]
    ]


def _copied(path: str) -> bool:
    return any(path == source or path.startswith(f"{source}/") for source in _sources())


@pytest.mark.parametrize("source", _sources())
def test_copies_what_exists(source: str) -> None:
    assert (ROOT / source).exists()


def test_copies_what_the_wheel_is_made_of() -> None:
    packages = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    files = [*PROJECT["project"]["license-files"], PROJECT["project"]["readme"], "pyproject.toml"]
    wanted = {each.rstrip("*") for each in packages} | set(files)
    assert set(_sources()) == wanted | {"config/production.toml"}


def test_context_holds_the_copied_and_nothing_private(tmp_path: Path) -> None:
    names = [
        *(".venv/bin/python", ".git/config", ".env", "tests/test_a.py", "data/a.parquet"),
        *("config/production.toml", "config/private.toml", "engine/__pycache__/a.pyc"),
        *("pyproject.toml", "README.md", "LICENSE", "engine/a.py", "models/packs/fraud/a.onnx"),
        *("export/a.py", "streams/store/redis/a.lua", "riskstream/a.py", "engine/.venv/bin/python"),
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    context = {
        each for each in exclude_paths(str(tmp_path), PATTERNS) if (tmp_path / each).is_file()
    }
    hidden = {"engine/__pycache__/a.pyc", "engine/.venv/bin/python"}
    assert context == {name for name in names if _copied(name)} - hidden


def test_runs_as_a_user_without_rights() -> None:
    names = [name for name, _ in INSTRUCTIONS]
    assert _last("USER") == "riskstream"
    assert names.index("USER") > max(place for place, name in enumerate(names) if name == "RUN")


def test_tells_nobody_about_the_models() -> None:
    assert "ORT_DISABLE_TELEMETRY=1" in _last("ENV").split()


def test_command_line_exists() -> None:
    (program,) = json.loads(_last("ENTRYPOINT"))
    parsed = parse(json.loads(_last("CMD")))
    assert program in PROJECT["project"]["scripts"]
    assert str(parsed["config"]) == _last("COPY").split()[-1] == "/etc/riskstream/riskstream.toml"


def test_extra_exists() -> None:
    assert ("ARG", 'EXTRAS=""') in INSTRUCTIONS
    assert "gpu" in PROJECT["project"]["optional-dependencies"]


def test_stops_as_the_worker_expects() -> None:
    assert _last("STOPSIGNAL") == "SIGTERM"
    assert json.loads(_last("VOLUME")) == ["/bundles"]


def test_healthcheck_tells_the_living_from_the_dead() -> None:
    port = load_settings(ROOT / "config/production.toml").worker.web_port
    program, option, code = json.loads(_last("HEALTHCHECK").split("CMD", 1)[1])
    assert (program, option) == ("python", "-c")
    assert f"http://127.0.0.1:{port}/healthz" in code
    assert _last("EXPOSE") == str(port)
    assert answer_probe(code, 200) == 0
    assert answer_probe(code, 500) != 0
