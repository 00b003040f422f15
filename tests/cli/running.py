"""Running the command line as a user does, and what comes of it: output and exit code.

``riskstream`` is a process of its own, which takes a second to start; ``invoke`` is for what does
not depend on that.
"""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from riskstream.main import main

ROOT = Path(__file__).parents[2]
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LIBRARIES = ("aiokafka", "asyncio", "faust", "faust.transport")
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


def invoke(*arguments: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``riskstream …`` to its end in a folder, in this process."""
    command = ["riskstream", *map(str, arguments)]
    stdout, stderr = _stream(), _stream()
    with ExitStack() as changed:
        changed.enter_context(chdir(cwd))
        changed.enter_context(patch.dict(os.environ, environment(**variables)))
        changed.enter_context(patch.object(sys, "argv", command))
        changed.enter_context(_same_logging())
        changed.enter_context(redirect_stdout(stdout))
        changed.enter_context(redirect_stderr(stderr))
        code = _exit_code()
    return subprocess.CompletedProcess(command, code, _text(stdout), _text(stderr))


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


def _exit_code() -> int:
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


@contextmanager
def _same_logging() -> Iterator[None]:
    """Take back what a command changes of the process's logging."""
    loggers = [logging.getLogger(name) for name in ("", "riskstream", "engine", *_LIBRARIES)]
    before = [(each.level, list(each.handlers)) for each in loggers]
    try:
        yield
    finally:
        for logger, (level, handlers) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.handlers[:] = handlers


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return _COLOUR.sub("", stream.read())
