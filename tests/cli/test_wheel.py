"""The wheel, installed alone into a new environment, runs the demo without PyTorch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.cli.running import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]

PACKAGES = ("engine", "models", "export", "streams", "riskstream")
NOT_COPIED = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "runs")


def clean() -> dict[str, str]:
    """The environment's variables without those that lead to other packages."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=clean(),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new environment that the wheel and what it needs are installed into."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=NOT_COPIED)
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, cwd=folder / "source")
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    yield folder / "venv"
    # An environment with ONNX Runtime is large, and pytest keeps the folders of three sessions.
    shutil.rmtree(folder)


def test_the_packages_come_from_the_environment(environment: Path, tmp_path: Path) -> None:
    code = f"import {', '.join(PACKAGES)}\n"
    code += f"print(*(each.__file__ for each in ({', '.join(PACKAGES)})))"
    found = run(environment / "bin" / "python", "-c", code, cwd=tmp_path).split()
    assert len(found) == len(PACKAGES)
    assert all(Path(each).is_relative_to(environment) for each in found)


def test_pytorch_is_not_there(environment: Path, tmp_path: Path) -> None:
    code = "import importlib.util; print(importlib.util.find_spec('torch'))"
    assert run(environment / "bin" / "python", "-c", code, cwd=tmp_path) == "None\n"


def test_the_demo_runs(environment: Path, tmp_path: Path) -> None:
    program = environment / "bin" / "riskstream"
    told = orjson.loads(run(program, "demo", "--json", "--rate", "20000", cwd=tmp_path))
    assert told["missing"] == 0
    assert told["scored"] == told["events"]
    assert told["recall"] > 0
    assert (tmp_path / "riskstream-demo" / "alerts.jsonl").stat().st_size > 0


def test_training_says_what_to_install(environment: Path, tmp_path: Path) -> None:
    program = environment / "bin" / "riskstream"
    done = subprocess.run(
        [program, "train", "fraud", "--data", "x.parquet", "--out", "x"],
        cwd=tmp_path,
        env=clean(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'riskstream[train]'" in done.stderr
