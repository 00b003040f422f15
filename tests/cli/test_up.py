"""``riskstream up``: servers at the configured addresses, until a signal or an end of one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.embedded.probes import answers_kafka, answers_redis
from streams.embedded.processes import choose_port
from streams.embedded.worker import to_toml
from tests.cli.processes import needs_proc, pid_of, processes
from tests.cli.running import error_line, invoke, start
from tests.waiting import wait_for


class Up:
    """``riskstream up`` as a process, its servers ready."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker_port, self.store_port = choose_port(None), choose_port(None)
        settings = {
            "broker.bootstrap": f"127.0.0.1:{self.broker_port}",
            "state.url": f"redis://127.0.0.1:{self.store_port}/0",
        }
        (folder / "up.toml").write_text(to_toml(settings), encoding="utf-8")
        self.process = start("up", "-c", "up.toml", "--dir", "X", cwd=folder)
        stdout = self.process.stdout
        # It says so once both are ready; an end without that is an empty line.
        assert stdout is not None
        assert "Ctrl-C ends them" in stdout.readline()
        wait_for(lambda: answers_kafka(self.broker_port), 60, "the broker to answer")
        wait_for(lambda: answers_redis(self.store_port), 60, "the store to answer")

    def end(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end, and return what it said."""
        stdout, stderr = self.process.communicate(timeout=60)
        return subprocess.CompletedProcess((), self.process.returncode, stdout, stderr)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    running = Up(tmp_path)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_on_a_signal(number: signal.Signals, up: Up) -> None:
    up.process.send_signal(number)
    done = up.end()
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")
    wait_for(lambda: not processes(up.folder), 60, "every process to end")


@needs_proc
@pytest.mark.parametrize("name", ["tansu", "valkey"])
def test_a_server_that_dies_ends_it_with_a_line_that_names_it(name: str, up: Up) -> None:
    os.kill(pid_of(name, up.folder), signal.SIGKILL)
    done = up.end()
    assert done.returncode == 1
    assert f"the embedded server {name} must run until Ctrl-C" in error_line(done)
    assert f"see {up.folder / 'X' / name}.log" in error_line(done)
    wait_for(lambda: not processes(up.folder), 60, "every process to end")


@pytest.mark.parametrize(
    ("variable", "value", "found"),
    [
        ("BROKER__BOOTSTRAP", "kafka:9092", "broker.bootstrap = kafka:9092"),
        ("STATE__URL", "redis://:secret@db:6379/0", "the scheme redis and the host db"),
        ("STATE__URL", "unix:///tmp/x", "the scheme unix"),
    ],
)
def test_servers_of_others_are_not_started(
    variable: str, value: str, found: str, tmp_path: Path
) -> None:
    done = invoke("up", cwd=tmp_path, **{f"RISKSTREAM_{variable}": value})
    assert done.returncode == 2
    assert found in error_line(done)
    assert "secret" not in done.stderr
    assert list(tmp_path.iterdir()) == []
