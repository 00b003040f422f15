"""Who takes part: riskstream and its peers, each a process of its own on the same topic."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from benchmarks.names import DEFAULT, ECHO, FAUST, QUIX, RISKSTREAM
from benchmarks.setup import ROOT, Bench
from streams.embedded.processes import HOST, choose_port
from streams.embedded.worker import to_toml

_STEP = re.compile(r'^riskstream_step_seconds_sum\{step="(\w+)"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class Contestant:
    """One of those that take part.

    Args:
        name: what tables call it.
        module: what runs; None for riskstream's worker.
        batch: records taken at once, where that can be said.
        python: what runs it.
        settings: of riskstream's worker, beside those that every run has.
        as_peers: whether riskstream's worker does what the peers do and no more.
    """

    name: str
    module: str | None
    batch: int = 1024
    python: Path = Path(sys.executable)
    settings: Mapping[str, Any] = field(default_factory=dict)
    as_peers: bool = True

    def start(self, bench: Bench, source: str, scores: str, group: str) -> Running:
        """Start it on a topic of events; its scores go to a topic of their own."""
        port = choose_port() if self.module is None else None
        if port is not None:
            command = self._worker(bench, source, scores, group, port)
        else:
            command = self._peer(bench, source, scores, group)
        log = bench.directory / f"{group}.log"
        # What the environment says of riskstream is not for this run.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RISKSTREAM_")}
        environment["PYTHONPATH"] = str(ROOT)
        with log.open("ab") as out:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        return Running(process, log, port)

    def _peer(self, bench: Bench, source: str, scores: str, group: str) -> list[str]:
        options = {
            "bootstrap": bench.bootstrap,
            "state-url": bench.state_url,
            "bundle": bench.bundle,
            "directory": bench.directory,
            "source": source,
            "scores": scores,
            "group": group,
            "batch": self.batch,
        }
        said = [each for name, value in options.items() for each in (f"--{name}", str(value))]
        return [str(self.python), "-m", str(self.module), *said]

    def _worker(self, bench: Bench, source: str, scores: str, group: str, port: int) -> list[str]:
        config = bench.directory / f"{group}-{port}.toml"
        settings = {
            "app.id": group,
            "broker.bootstrap": bench.bootstrap,
            "topics.transactions": source,
            "topics.labels": f"{source}-labels",
            "topics.scores": scores,
            "topics.alerts": f"{scores}-alerts",
            "topics.dead_letters": f"{scores}-dead-letters",
            "state.url": bench.state_url,
            "worker.web_host": HOST,
            "worker.web_port": port,
            **(_as_peers(bench) if self.as_peers else {}),
            **self.settings,
        }
        config.write_text(to_toml(settings), encoding="utf-8")
        return [str(self.python), "-m", "riskstream", "worker", "--config", str(config)]


def _as_peers(bench: Bench) -> dict[str, Any]:
    """Return the settings of a worker that does what the peers do: their model, and no alerts."""
    thresholds = {"model.review_threshold": 1.0, "model.decline_threshold": 1.0}
    return {"model.bundle": str(bench.bundle), **thresholds}


class Running:
    """A contestant's process; leaving the block ends it."""

    def __init__(
        self, process: subprocess.Popen[bytes], log: Path, port: int | None = None
    ) -> None:
        self._process = process
        self._log = log
        self._port = port

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise :class:`RuntimeError` where it has ended, with the end of its log."""
        if self._process.poll() is not None:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"it ended with {self._process.returncode}: {tail}")

    def steps_s(self) -> dict[str, float]:
        """Return how long each step of a batch has taken in all; only riskstream tells."""
        if self._port is None:
            return {}
        with urllib.request.urlopen(f"http://{HOST}:{self._port}/metrics", timeout=10) as page:
            return {step: float(taken) for step, taken in _STEP.findall(page.read().decode())}

    def stop(self) -> None:
        """End it as a deployment does, by SIGTERM."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def batch_loop(batch: int) -> Contestant:
    """Return the hand-written loop with a batch size."""
    return Contestant(f"batch loop {batch:,}", "benchmarks.peers.batch_loop", batch)


def variant(said: str) -> Contestant:
    """Return riskstream with settings, said as ``state.hot_accounts=0,worker.max_batch=512``."""
    pairs = (each.partition("=") for each in said.split(","))
    settings = {name: _value(text) for name, _, text in pairs}
    return Contestant(f"{RISKSTREAM}, {said}", None, settings=settings)


def _value(text: str) -> Any:
    """Return a number or a truth that a text says, and any other text as it is."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def contestants(quix: Path | None) -> dict[str, Contestant]:
    """Return all that have no variants, by name."""
    every = [
        Contestant(RISKSTREAM, None),
        Contestant(DEFAULT, None, as_peers=False),
        Contestant(ECHO, "benchmarks.peers.echo"),
        Contestant(FAUST, "benchmarks.peers.faust_tutorial"),
    ]
    if quix is not None:
        every.append(Contestant(QUIX, "benchmarks.peers.quix", python=quix))
    return {each.name: each for each in every}
