"""The five packages are this repository's, and serving needs no PyTorch."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["engine", "models", "export", "streams", "riskstream"])
def test_each_package_is_imported_from_this_repository(name: str) -> None:
    module = import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == ROOT / name / "__init__.py"


@pytest.mark.parametrize("name", ["riskstream.main", "streams.worker", "engine.scorer"])
def test_what_serves_does_not_import_pytorch(name: str) -> None:
    heavy = ("torch", "onnx", "onnxscript", "sklearn")
    code = f"import sys, {name}\nprint([each for each in {heavy} if each in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
