"""How a worker stops: before it started, without its servers, after a crash, without a port."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from engine.bundle import Bundle
from engine.errors import StreamError
from models.packs.registry import pack_folder
from streams.embedded.broker import EmbeddedBroker
from streams.embedded.processes import choose_port
from streams.embedded.valkey import EmbeddedValkey
from streams.embedded.worker import EmbeddedWorker
from streams.worker import _opened, _run
from tests.streams.harness import Stream
from tests.streams.synthetic import payments, sent
from tests.waiting import wait_for, wait_for_async

MakeStream = Callable[..., Stream]


@contextmanager
def starting(stream: Stream) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Start a worker that is not going to be ready, and give its process and its log."""
    log = stream.directory / "starting.log"
    config = stream.write_config("starting", {"worker.web_port": 0})
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "riskstream", "worker", "--config", str(config)], stderr=file
        )
    try:
        yield process, log
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("away", ["store", "broker"])
def test_a_worker_that_waits_for_a_server_stops_before_it_starts(
    make_stream: MakeStream, embedded_broker: str, away: str, number: signal.Signals
) -> None:
    nowhere = f"127.0.0.1:{choose_port()}"
    settings: dict[str, Any] = {"state__url": f"redis://{nowhere}"} if away == "store" else {}
    stream = make_stream(nowhere if away == "broker" else embedded_broker, **settings)
    with starting(stream) as (process, log):
        wait_for(lambda: "waiting up to 60 s" in log.read_text(), 60, "the worker to wait")
        process.send_signal(number)
        assert process.wait(60) == 0
        assert "stopped before it started" in log.read_text()


def stopped(worker: EmbeddedWorker, within_s: float) -> int | None:
    """Send SIGTERM and return the exit code."""
    process = worker._process
    assert process is not None
    process.terminate()
    return process.wait(within_s)


async def test_a_worker_says_that_kafka_is_away_and_back_and_stops_without_it(
    make_stream: MakeStream, tmp_path: Path
) -> None:
    port = choose_port()
    with EmbeddedBroker(tmp_path / "broker", port=port) as broker:
        stream = make_stream(broker.bootstrap)
        worker = stream.worker()
        await stream.produce([sent(event) for event in payments(100)])
        await stream.collect(100)
        for wanted, change in (("away", broker.kill), ("back", broker.start)) * 2:
            change()
            wait_for(lambda w=wanted: told(worker)[-1:] == [w], 60, f"the worker to say {wanted}")
        broker.kill()
        wait_for(lambda: told(worker)[-1:] == ["away"], 60, "the worker to say away")
        assert stopped(worker, within_s=60) == 0
        # Each is said once, before the other; a broker that was slow may have seemed away too.
        said = told(worker)
        assert said == (["away", "back"] * len(said))[: len(said)]
        assert said[-1] == "away"
        assert f"127.0.0.1:{port}" in worker.log_tail(100)


def told(worker: EmbeddedWorker) -> list[str]:
    """What the worker said of Kafka, in turn."""
    return re.findall(r"Kafka is (away|back)", worker.log_tail(1_000))


def lines(worker: EmbeddedWorker, said: str) -> int:
    return sum(said in line for line in worker.log_tail(1_000).splitlines())


async def test_sigterm_ends_a_worker_whose_store_is_away(
    make_stream: MakeStream, embedded_broker: str, tmp_path: Path
) -> None:
    with EmbeddedValkey(tmp_path / "store") as store:
        stream = make_stream(embedded_broker, state__url=store.url)
        worker = stream.worker()
        await stream.produce([sent(event) for event in payments(100)])
        await stream.collect(100)
        store.kill()
        await stream.produce([sent(event) for event in payments(100, seed=1)])
        wait_for(lambda: "trying again" in worker.log_tail(), 60, "the worker to notice")
        assert stopped(worker, within_s=60) == 0


async def test_a_crash_inside_faust_is_an_error(
    make_stream: MakeStream, embedded_broker: str
) -> None:
    stream = make_stream(embedded_broker, worker__web_port=0)
    bundle = Bundle.load(pack_folder("fraud") / "bundle")
    async with _opened(stream.settings, bundle) as app:
        running = asyncio.create_task(_run(app, asyncio.Event()))

        async def assigned() -> bool:
            return app.has_been_assigned

        await wait_for_async(assigned, 60, "partitions")
        await app.crash(LookupError("no such thing"))
        with pytest.raises(StreamError, match="LookupError: no such thing"):
            await running
        await app.stop()


async def test_a_port_that_is_taken_is_one_clear_line(
    make_stream: MakeStream, embedded_broker: str
) -> None:
    stream = make_stream(embedded_broker)
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        failed = stream.fails(worker__web_port=port)
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr
    (line,) = [each for each in failed.stderr.splitlines() if each.startswith("error:")]
    for said in ("worker.web_port", str(port), "--web-port 0"):
        assert said in line


@pytest.mark.slow
async def test_a_store_that_is_away_at_an_assignment_is_waited_for(
    make_stream: MakeStream, embedded_broker: str, tmp_path: Path
) -> None:
    with EmbeddedValkey(tmp_path / "store", port=choose_port(), appendonly=True) as store:
        stream = make_stream(embedded_broker, state__url=store.url, broker__request_timeout_s=6.0)
        first = stream.worker()
        events = payments(200, accounts=20)
        await stream.produce([sent(event) for event in events[:100]])
        await stream.collect(100)
        second = stream.worker()
        store.kill()
        second.kill()
        wait_for(
            lambda: lines(first, "partitions wait for the state store") > 0, 60, "the assignment"
        )
        store.start()
        await stream.produce([sent(event) for event in events[100:]])
        outputs = await stream.collect(200)
    assert outputs.by_event().keys() == {event["transaction_id"] for event in events}


def test_a_store_that_wants_a_password_is_one_clear_line_at_once(
    make_stream: MakeStream, embedded_broker: str, tmp_path: Path
) -> None:
    with EmbeddedValkey(tmp_path / "store") as store:
        with redis.Redis.from_url(store.url) as client:
            client.config_set("requirepass", "right")
        failed = make_stream(embedded_broker, state__url=store.url).fails()
    assert failed.returncode == 1
    assert "waiting up to" not in failed.stderr
    assert "Traceback" not in failed.stderr
    (line,) = [each for each in failed.stderr.splitlines() if each.startswith("error:")]
    assert "state.url" in line
