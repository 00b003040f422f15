"""``riskstream demo``: everything is scored, people can watch it, and nothing is left behind."""

from __future__ import annotations

import io
import re
import signal
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from riskstream.demo_run import DemoState
from riskstream.demo_view import render
from streams.embedded.processes import choose_port
from tests.cli.processes import needs_proc, processes
from tests.cli.running import error_line, riskstream, start
from tests.cli.terminal import Terminal
from tests.waiting import wait_for

SERVERS = ("tansu", "valkey", "riskstream worker")
STOPPED = "stopped; everything that the demo started has ended\n"


def servers(folder: Path) -> list[str]:
    """Which of a demo's servers run in a folder."""
    running = processes(folder)
    return [name for name in SERVERS if any(name in each for each in running)]


@needs_proc
def test_everything_is_scored_on_servers_of_its_own_and_nothing_is_left_running(
    tmp_path: Path,
) -> None:
    done = riskstream(
        *("demo", "--json", "--rate", "20000", "--dir", "X"),
        cwd=tmp_path,
        timeout_s=280,
        RISKSTREAM_BROKER__BOOTSTRAP=f"127.0.0.1:{choose_port(None)}",
        RISKSTREAM_BROKER__CONNECT_TIMEOUT_S="0.5",
        RISKSTREAM_STATE__URL=f"redis://127.0.0.1:{choose_port(None)}/0",
        RISKSTREAM_STATE__CONNECT_TIMEOUT_S="0.5",
        RISKSTREAM_TOPICS__SCORES="scores-of-another",
    )
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    told = orjson.loads(line)
    assert told["missing"] == 0
    assert told["scored"] == told["events"] > 100_000
    assert 0 < told["caught"] <= told["frauds"]
    assert told["recall"] == told["caught"] / told["frauds"] > 0
    assert 0 < told["latency_p50_ms"] <= told["latency_p99_ms"]
    files = {path.name for path in (tmp_path / "X").iterdir()}
    assert {"alerts.jsonl", "worker.toml", "worker.log", "tansu.log", "valkey.log"} <= files
    alerts = [
        orjson.loads(each) for each in (tmp_path / "X" / "alerts.jsonl").read_bytes().splitlines()
    ]
    assert len(alerts) >= told["alerts"] > 0
    assert processes(tmp_path) == []


def starts(folder: Path) -> bool:
    return servers(folder.parent) == list(SERVERS)


def streams(folder: Path) -> bool:
    alerts = folder / "alerts.jsonl"
    return alerts.exists() and alerts.stat().st_size > 0


@needs_proc
@pytest.mark.parametrize("moment", [starts, streams], ids=["starting", "streaming"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_way_out_leaves_a_process_behind(
    number: signal.Signals, moment: Callable[[Path], bool], tmp_path: Path
) -> None:
    running = start("demo", "--json", "--dir", "X", cwd=tmp_path)
    try:
        wait_for(lambda: moment(tmp_path / "X"), 120, "the demo to come so far")
        assert servers(tmp_path) == list(SERVERS)
        running.send_signal(number)
        stdout, stderr = running.communicate(timeout=90)
    finally:
        running.kill()
    wait_for(lambda: not processes(tmp_path), 60, "every process to end")
    assert stdout == ""
    if number is signal.SIGKILL:
        assert running.returncode == -signal.SIGKILL
    else:
        assert (running.returncode, stderr) == (130, STOPPED)


LIVE = (
    "riskstream demo",
    "building up the accounts' history, event time 2018-0",
    "payments as they come, event time 2018-08-",
    " of 164,144 scored ",
    " events/s ",
    "latency p50 ",
    "━━━━━",
    "approve ",
    "newest alerts",
)


@needs_proc
def test_a_terminal_shows_progress_rate_latency_decisions_and_alerts_until_ctrl_c(
    tmp_path: Path,
) -> None:
    def shows_all(text: str) -> bool:
        live, _, alerts = text.rpartition("newest alerts")
        counts = r"approve [1-9][\d,]* +review [1-9][\d,]* +decline \d"
        latency = r"latency p50 \d[\d,]* ms +p99 \d[\d,]* ms"
        return (
            all(each in text for each in LIVE)
            and all(re.search(each, live) for each in (counts, r"[1-9][\d,]* events/s", latency))
            and bool(re.search(r"2018-08-\d\d \d\d:\d\d:\d\d +(review|decline) ", alerts))
        )

    with Terminal("demo", "--dir", "X", cwd=tmp_path) as terminal:
        terminal.read_until(shows_all, 180)
        terminal.press_ctrl_c()
        assert terminal.read_to_end(90) == 130
    assert terminal.text.endswith(STOPPED)
    assert "Traceback" not in terminal.text
    wait_for(lambda: not processes(tmp_path), 60, "every process to end")


@pytest.mark.parametrize(
    ("demo", "told"),
    [
        (("demo", "credit"), ("12,000 of 12,000", "defaults caught")),
        pytest.param(
            ("demo", "--rate", "20000"),
            ("164,144 of 164,144", "frauds caught"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["credit", "fraud"],
)
def test_a_terminal_shows_what_came_of_it(
    demo: tuple[str, ...], told: tuple[str, ...], tmp_path: Path
) -> None:
    with Terminal(*demo, "--dir", "X", cwd=tmp_path) as terminal:
        assert terminal.read_to_end(180) == 0
    for each in (*told, "X/alerts.jsonl", "try next"):
        assert each in terminal.text
    assert re.search(r"latency +p50 \d[\d,]* ms, p99 \d[\d,]* ms", terminal.text)
    assert "Traceback" not in terminal.text


@pytest.mark.parametrize("command", ["demo", "up"])
def test_a_folder_that_cannot_be_made_is_one_line(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = riskstream(command, "--dir", "file/X", cwd=tmp_path)
    assert done.returncode == 2
    assert "--dir must be a folder" in error_line(done)


def alert(at: int) -> dict[str, object]:
    return {
        "event_time_ms": 1_533_686_400_000 + at * 1_000,
        "decision": "review",
        "account": f"card-{at}",
        "amount": 1_234.5,
        "score": 0.25,
        "reasons": [{"text": "The amount is unusual for this account."}],
    }


@pytest.mark.parametrize("height", [12, 15, 24, 40, 200])
@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_view_fits_into_terminals(width: int, height: int) -> None:
    state = DemoState(1_000, "payments", scored=500, alerts=50, live=True)
    state.event_time_ms = 1_533_686_400_000
    state.decisions = Counter(approve=440, review=50, decline=10)
    state.newest = deque(alert(at) for at in range(49, -1, -1))
    state.latencies_ms = [10, 20, 30]
    console = Console(width=width, height=height, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(render(state, height))
    lines = capture.get().splitlines()
    assert len(lines) <= max(height, 13)
    assert all(len(line) <= width for line in lines)
    text = " ".join(capture.get().split())
    assert "500 of 1,000 scored" in text or width < 100
    assert "payments as they come, event time 2018-08-08 00:00:00" in text
    assert "approve 440 review 50 decline 10" in text
    shown = [at for at in range(50) if f" card-{at} " in text]
    assert shown == list(range(50 - len(shown), 50))
    assert len(shown) == min(max(height - 12, 3), 50)
    assert text.index(" card-49 ") < text.index(" card-48 ")


def test_the_view_shows_a_demo_that_has_just_begun() -> None:
    console = Console(width=100, height=40, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(render(DemoState(0), 40))
    assert "latency p50 –" in capture.get()
    assert "0 events/s" in capture.get()
