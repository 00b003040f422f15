"""The entry point: bugs, terminals that cannot show everything, and what it loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from riskstream import settings
from tests.cli.running import environment, error_line, invoke, riskstream

BUG = "error: this is a bug in riskstream: KeyError: 'de [/b] cision'; please report it with "
BUG += "the traceback that RISKSTREAM_WORKER__LOG_LEVEL=DEBUG shows"


@pytest.fixture
def _bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def reference_toml() -> str:
        raise KeyError("de [/b] cision")

    monkeypatch.setattr(settings, "reference_toml", reference_toml)


@pytest.mark.usefixtures("_bug")
def test_a_bug_is_one_line(tmp_path: Path) -> None:
    done = invoke("settings", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{BUG}\n")


@pytest.mark.usefixtures("_bug")
def test_a_bug_has_a_traceback_at_debug(tmp_path: Path) -> None:
    done = invoke("settings", cwd=tmp_path, RISKSTREAM_WORKER__LOG_LEVEL="DEBUG")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert 'raise KeyError("' in done.stderr
    assert done.stderr.endswith(f"\n{BUG}\n")


@pytest.mark.parametrize("command", [("settings",), ("bundle", "show"), ("--help",)], ids=" ".join)
def test_a_terminal_that_knows_ascii_only_gets_question_marks(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = riskstream(*command, cwd=tmp_path, **ascii_only)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    if command == ("settings",):
        assert "# bundle = ?\n" in done.stdout


def test_an_error_reaches_a_terminal_that_knows_ascii_only(tmp_path: Path) -> None:
    done = riskstream("score", "zürich.parquet", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert error_line(done).isascii()


@pytest.mark.parametrize(
    ("only", "heavy"),
    [
        (None, "faust redis torch sklearn onnx streams.worker prometheus_client"),
        ("worker", "pyarrow torch models.config riskstream.evaluate"),
    ],
)
def test_help_and_worker_wait_for_no_more_than_they_need(
    only: str | None, heavy: str, tmp_path: Path
) -> None:
    code = f"import sys, riskstream.main\nriskstream.main.new_app({only!r})\n"
    code += "import streams.worker\n" if only else ""
    code += "print(*(each for each in sys.argv[1:] if each in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code, *heavy.split()],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "\n"
