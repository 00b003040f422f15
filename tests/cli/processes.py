"""The processes that a command has started: those that work in its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/cwd").exists(), reason="processes are found through /proc"
)


def processes(folder: Path) -> list[str]:
    """The command lines of the processes that work in a folder or below it."""
    return [line for _, line in _processes(folder)]


def pid_of(name: str, folder: Path) -> int:
    """The id of the process in a folder whose program has a name."""
    (found,) = [pid for pid, line in _processes(folder) if name in line.split(" ")[0]]
    return found


def _processes(folder: Path) -> Iterator[tuple[int, str]]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            at = (process / "cwd").readlink()
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:  # It has ended, or is not ours to look at.
            continue
        if at.is_relative_to(folder):
            yield int(process.name), b" ".join(words).decode()
