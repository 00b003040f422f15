"""Run a server as a child process: start, wait until it is ready, stop, and never outlive us.

Every way out ends the server. A `with` block or `stop()` does so in order (SIGTERM, then SIGKILL
after a deadline); the interpreter's exit does it for a server left running; and where this process
is killed outright, a watchdog does: a shell that blocks reading a pipe whose other end this process
holds, and kills the server once that end is gone. (PR_SET_PDEATHSIG would need no watchdog, but it
fires when the thread that started the server ends.) Without /bin/sh there is no watchdog, and a
server outlives a killed parent.

Servers run in a session of their own, so that Ctrl-C in a terminal reaches only this process, which
then stops them after its own last write.
"""

from __future__ import annotations

import atexit
import os
import random
import shutil
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from engine.errors import EmbeddedServerError

HOST = "127.0.0.1"
SHELL = Path("/bin/sh")
# Reads the server's pid, then waits for the pipe to end.
WATCH = 'trap \'\' INT TERM HUP; read -r pid; read -r end; [ -n "$pid" ] && kill -KILL "$pid"'
# Says its pid there before it becomes the server: whoever starts it may be killed right after.
TELL = 'echo "$$" >&0; exec "$@" </dev/null'
POLL_S = 0.01
TAIL_LINES = 20
PORT_TAKEN = ("address already in use", "address in use", "addrinuse")
START_TRIES = 3
# Below those that systems give to outgoing connections, one of which would otherwise, now and then,
# take the port of a server that is being started again.
PORTS = range(20_000, 32_000)


@dataclass(frozen=True, slots=True)
class Launch:
    """How to run a server once."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables to set on top of this process's own."""


class EmbeddedServer(ABC):
    """A server process of our own. Use it in a `with` block, or call `start()` and `stop()`."""

    name: str
    ready_within_s: float = 30.0
    stop_within_s: float = 5.0

    def __init__(self, directory: Path | str) -> None:
        """Take the directory of the server's log and data; it is made where it is missing."""
        self.directory = Path(directory).absolute()
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._log_start = 0

    @abstractmethod
    def prepare(self) -> Launch:
        """Choose free ports, write what the server reads, and return how to run it."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Return whether the server answers its own protocol; called until it does."""

    @property
    def log_path(self) -> Path:
        """Where the server's output goes; starts append."""
        return self.directory / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """The process id of a running server."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        """Whether the server process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and return once it is ready.

        Raises:
            EmbeddedServerError: it ended or was not ready in time; the message ends with its log.
        """
        if self.running:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        for tries_left in reversed(range(START_TRIES)):
            try:
                self._start_once()
                return
            except EmbeddedServerError:
                # A free port may be taken between its choice and its use.
                if not (tries_left and self._port_was_taken()):
                    raise

    def stop(self) -> None:
        """End the server and wait until it is gone. Stopping a stopped server is fine."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(self.stop_within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._forget()

    def kill(self) -> None:
        """End the server as a power cut would (SIGKILL) and wait until it is gone."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._forget()

    def log_tail(self, lines: int = TAIL_LINES) -> str:
        """Return the last lines that the server wrote since its last start."""
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            text = log.read().decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_once(self) -> None:
        launch = self.prepare()
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            try:
                self._watchdog = _start_watchdog()
                self._process = _start_process(launch, log, self._watchdog)
            except OSError as error:
                self._forget()
                raise self._error(f"it could not be started ({error})") from error
        atexit.register(self._stop_at_exit)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.ready_within_s
        while not self.is_ready():
            if not self.running and self._process is not None:
                raise self._error(f"it ended with exit status {self._process.returncode}")
            if time.monotonic() > deadline:
                raise self._error(f"it was not ready after {self.ready_within_s:g} s")
            time.sleep(POLL_S)

    def _error(self, found: str) -> EmbeddedServerError:
        tail = self.log_tail() or "(nothing)"
        return EmbeddedServerError(
            f"the embedded server {self.name} must start and become ready, however: {found}. "
            f"The end of its log, {self.log_path}:\n{tail}"
        )

    def _port_was_taken(self) -> bool:
        tail = self.log_tail().lower()
        return any(words in tail for words in PORT_TAKEN)

    def _stop_at_exit(self) -> None:
        # A forked child runs this too, and the server is not its own.
        if os.getpid() == self._owner:
            self.stop()

    def _forget(self) -> None:
        atexit.unregister(self._stop_at_exit)
        self._process = None
        if self._watchdog is not None:
            # The watchdog goes before its pipe does, or it would kill a pid that may be reused.
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None


def run_to_end(launch: Launch, log_path: Path, *, within_s: float) -> int:
    """Run a command to its end, its output appended to a log, and return its exit status.

    Raises:
        subprocess.TimeoutExpired: it took longer; it has been killed.
        OSError: it could not be started.
    """
    with log_path.open("ab") as log:
        process = _start_process(launch, log)
    try:
        return process.wait(within_s)
    finally:
        process.kill()
        process.wait()


def choose_port(wanted: int | None = None) -> int:
    """Return `wanted`, or where it is None a TCP port of 127.0.0.1 that nothing listens on now.

    Raises:
        EmbeddedServerError: something listens on the wanted port.
    """
    if wanted is None:
        # The system's randomness: processes that were seeded alike choose the same otherwise.
        free = filter(_is_free, random.SystemRandom().sample(PORTS, len(PORTS)))
        # Where all are taken, one of the system's own.
        return next(free, None) or _bound(0)
    try:
        return _bound(wanted)
    except OSError as error:
        raise EmbeddedServerError(
            f"the port of an embedded server must be free, however: port={wanted} ({error}). "
            "End what listens there, or leave the port out."
        ) from error


def _is_free(port: int) -> bool:
    try:
        return bool(_bound(port))
    except OSError:
        return False


def _bound(port: int) -> int:
    """Return the port that a socket could be bound to."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
        return int(probe.getsockname()[1])


def _start_process(
    launch: Launch, log: BinaryIO, watchdog: subprocess.Popen[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Start a server, or a command; a watchdog is told of it by itself."""
    command, environment = list(launch.command), {**os.environ, **launch.environment}
    if watchdog is not None:
        if shutil.which(command[0], path=environment.get("PATH")) is None:
            raise FileNotFoundError(f"no executable {command[0]}")
        command = [str(SHELL), "-c", TELL, "sh", *command]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL if watchdog is None else watchdog.stdin,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )


def _start_watchdog() -> subprocess.Popen[bytes] | None:
    if not SHELL.exists():
        return None
    return subprocess.Popen(
        [str(SHELL), "-c", WATCH],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
