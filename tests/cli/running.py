"""Running the command line as a user does: a process of its own, its output and exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "riskstream")


def environment(**variables: str) -> dict[str, str]:
    """This process's variables with those of a test, and without the colours of a terminal."""
    plain = {"PYTHONPATH": str(ROOT), "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    return {**os.environ, **plain, **variables}


def riskstream(
    *arguments: str | Path, cwd: Path, timeout_s: float = 60.0, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run ``riskstream …`` to its end in a folder."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def start(*arguments: str | Path, cwd: Path, **variables: str) -> subprocess.Popen[str]:
    """Start ``riskstream …`` in a folder, its output in pipes. The caller waits for its end."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of an error, checked to be all that a command says when it fails."""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, done.stderr
    return lines[0]
