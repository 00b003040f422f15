"""A program in a terminal of a size, as a user sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cli.running import COMMAND, environment

CTRL_C = b"\x03"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# Makes the terminal the controlling one, so that Ctrl-C in it is a signal, and runs a program.
LAUNCH = "import fcntl, os, sys, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
LAUNCH += "os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """``riskstream …`` in a terminal. Use it in a ``with`` block; it ends the program."""

    def __init__(
        self, *arguments: str | Path, cwd: Path, columns: int = 100, lines: int = 40
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        variables = environment(TERM="xterm-256color")
        for name in ("NO_COLOR", "COLUMNS", "LINES"):
            variables.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, *COMMAND, *map(str, arguments)],
            cwd=cwd,
            env=variables,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._output = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    @property
    def text(self) -> str:
        """All that was written, without colours and movements."""
        return ESCAPE.sub("", self._output.decode("utf-8", "replace")).replace("\r\n", "\n")

    def press_ctrl_c(self) -> None:
        """Press Ctrl-C."""
        os.write(self._master, CTRL_C)

    def read_until(self, condition: Callable[[str], bool], deadline_s: float) -> str:
        """Read until the text fulfils a condition, and return it."""
        end = time.monotonic() + deadline_s
        while not condition(self.text):
            if time.monotonic() > end or not self._read(end - time.monotonic()):
                raise TimeoutError(f"waited in vain; the terminal shows {self.text[-3_000:]}")
        return self.text

    def read_to_end(self, deadline_s: float) -> int:
        """Read until the program has ended, and return its exit code."""
        end = time.monotonic() + deadline_s
        while self._read(max(end - time.monotonic(), 0)):
            pass
        return self.process.wait(max(end - time.monotonic(), 1))

    def _read(self, within_s: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(within_s, 0))
        try:
            found = os.read(self._master, 65_536) if ready else b""
        except OSError:  # Linux says so where the program has closed its side.
            found = b""
        self._output += found
        return bool(found)
