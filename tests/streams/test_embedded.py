"""Servers of our own: they become ready, say why when they do not, and never stay behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from engine.errors import EmbeddedServerError
from streams.embedded.broker import EmbeddedBroker
from streams.embedded.kafka import ApacheKafka, why_not
from streams.embedded.processes import HOST, EmbeddedServer, Launch, choose_port
from streams.embedded.valkey import EmbeddedValkey
from tests.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]
SERVERS: dict[str, Callable[[Path], EmbeddedServer]] = {
    "tansu": EmbeddedBroker,
    "valkey": EmbeddedValkey,
    "valkey-socket": lambda directory: EmbeddedValkey(directory, unix_socket=True),
}


class Shell(EmbeddedServer):
    """A server that is whatever a shell line is."""

    name = "shell"
    stop_within_s = 0.2

    def __init__(self, directory: Path, line: str, *, ready: bool = True) -> None:
        super().__init__(directory)
        self.launch = Launch(["/bin/sh", "-c", line])
        self.ready = ready

    def prepare(self) -> Launch:
        return self.launch

    def is_ready(self) -> bool:
        return self.ready


def processes() -> dict[int, int]:
    """Return the parent of each process that is alive, by pid."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
    )
    rows = [line.split(maxsplit=2) for line in listing.stdout.splitlines()]
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}


def children() -> set[int]:
    mine = {pid for pid, parent in processes().items() if parent == os.getpid()}
    return {pid for pid in mine if pid in processes()}  # without the ps that listed itself


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


@pytest.fixture(params=list(SERVERS))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> EmbeddedServer:
    return SERVERS[request.param](tmp_path)


def test_starts_and_stops_and_leaves_nothing(server: EmbeddedServer) -> None:
    before = children()
    with server:
        assert server.running
        assert server.pid in children()
        wait_for(server.is_ready, 60, "an answer")
    assert not server.running
    assert server.pid is None
    assert not server.is_ready()
    assert children() == before


def test_starts_again_after_a_stop_and_a_kill(server: EmbeddedServer) -> None:
    before = children()
    server.start()
    first = server.pid
    server.start()
    assert server.pid == first
    server.stop()
    server.stop()
    server.start()
    wait_for(server.is_ready, 60, "an answer")
    server.kill()
    assert children() == before
    with server:
        wait_for(server.is_ready, 60, "an answer")
    assert children() == before


def test_stops_when_the_block_raises(server: EmbeddedServer) -> None:
    before = children()
    with pytest.raises(KeyboardInterrupt), server:
        raise KeyboardInterrupt
    assert children() == before


def test_outlives_the_thread_that_started_it(server: EmbeddedServer) -> None:
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    wait_for(server.is_ready, 60, "an answer")
    server.stop()


def test_is_out_of_reach_of_ctrl_c(server: EmbeddedServer) -> None:
    with server:
        assert server.pid
        assert os.getpgid(server.pid) != os.getpgid(0)


# The way out of the process that started it

STARTS_AND_WAITS = """
import sys
from streams.embedded.valkey import EmbeddedValkey
from streams.embedded.broker import EmbeddedBroker
servers = [EmbeddedValkey(sys.argv[1] + "/v"), EmbeddedBroker(sys.argv[1] + "/b")]
for server in servers:
    server.start()
print(*(server.pid for server in servers), flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None])
def test_servers_end_with_their_parent(way: signal.Signals | None, tmp_path: Path) -> None:
    with run_python(STARTS_AND_WAITS, str(tmp_path)) as parent:
        assert parent.stdin
        assert parent.stdout
        pids = {int(pid) for pid in parent.stdout.readline().split()}
        watchdogs = {pid for pid, of in processes().items() if of == parent.pid} - pids
        assert len(pids) == len(watchdogs) == 2
        if way is None:
            parent.stdin.write("go\n")
            parent.stdin.flush()
        else:
            parent.send_signal(way)
        parent.wait(60)
    wait_for(lambda: not (pids | watchdogs) & processes().keys(), 60, "servers to end")


DIES_AS_SOON_AS_IT_HAS_STARTED_ONE = """
import os, signal, sys
from streams.embedded import processes
from streams.embedded.valkey import EmbeddedValkey
start = processes._start_process
def start_and_die(*given):
    print(start(*given).pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
processes._start_process = start_and_die
EmbeddedValkey(sys.argv[1]).start()
"""


def test_a_server_ends_though_its_parent_died_as_soon_as_it_had_started_it(tmp_path: Path) -> None:
    with run_python(DIES_AS_SOON_AS_IT_HAS_STARTED_ONE, str(tmp_path)) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        parent.wait(60)
    wait_for(lambda: pid not in processes(), 60, "the server to end")


# Servers that fail


def test_the_error_carries_the_end_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "shell.log").write_text("an earlier run\n")
    lines = "; ".join(f"echo line-{n}" for n in range(100))
    broken = Shell(tmp_path, f"{lines}; echo 'bad luck' >&2; exit 3", ready=False)
    with pytest.raises(EmbeddedServerError) as caught:
        broken.start()
    message = str(caught.value)
    assert message.endswith("line-99\nbad luck")
    assert "exit status 3" in message
    assert str(tmp_path / "shell.log") in message
    assert "line-50" not in message
    assert "an earlier run" not in message


def test_a_server_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    before = children()
    slow = Shell(tmp_path, "exec sleep 600", ready=False)
    slow.ready_within_s = 0.1
    with pytest.raises(EmbeddedServerError, match=r"not ready after 0\.1 s.*\n\(nothing\)"):
        slow.start()
    assert children() == before


def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    before = children()
    with Shell(tmp_path, "trap '' TERM; echo up; while :; do sleep 0.01; done") as stubborn:
        wait_for(lambda: stubborn.log_tail() == "up", 60, "the trap to be set")
    assert children() == before


def test_a_missing_binary(tmp_path: Path) -> None:
    before = children()
    missing = Shell(tmp_path, "")
    missing.launch = Launch([str(tmp_path / "none")])
    with pytest.raises(EmbeddedServerError, match="could not be started"):
        missing.start()
    assert children() == before


def test_a_taken_port_is_chosen_again(tmp_path: Path) -> None:
    again = "if test -e tried; then touch again; exec sleep 600; fi"
    line = f"cd '{tmp_path}'; {again}; touch tried; echo Address already in use"
    unlucky = Shell(tmp_path, line, ready=False)
    unlucky.is_ready = (tmp_path / "again").exists  # type: ignore[method-assign]
    with unlucky:
        assert unlucky.running


def test_valkey_says_what_is_wrong_with_its_settings(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="maxmemory"):
        EmbeddedValkey(tmp_path, settings={"maxmemory": "plenty"}).start()


def test_a_wanted_port_must_be_free(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        with pytest.raises(EmbeddedServerError, match="must be free"):
            EmbeddedBroker(tmp_path, port=taken.getsockname()[1]).start()


def test_a_socket_path_has_a_limit(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="103"):
        EmbeddedValkey(tmp_path / ("x" * 100), unix_socket=True)


def test_tansu_without_its_binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALF_TANSU_BIN", str(tmp_path / "none"))
    with pytest.raises(EmbeddedServerError, match=r"broker\.bootstrap"):
        EmbeddedBroker(tmp_path).start()


def test_why_not_kafka(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "kafka_*.jar" in str(why_not(tmp_path))
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs" / "kafka_2.13-4.3.0.jar").touch()
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "java" in str(why_not(tmp_path))
    with pytest.raises(EmbeddedServerError, match="java"):
        ApacheKafka(tmp_path, tmp_path / "k").start()


# What each is for


def test_valkey_forgets_by_default_and_keeps_when_told(tmp_path: Path) -> None:
    for appendonly, kept in ((False, None), (True, b"1")):
        valkey = EmbeddedValkey(tmp_path / str(appendonly), appendonly=appendonly)
        with valkey, redis.Redis.from_url(valkey.url) as client:
            client.set("a", "1")
            valkey.kill()
        with valkey, redis.Redis.from_url(valkey.url) as client:
            assert client.get("a") == kept


async def round_trip(bootstrap: str, values: Sequence[bytes]) -> list[bytes]:
    topic = f"topic-{os.urandom(4).hex()}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 3, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        for value in values:
            await producer.send_and_wait(topic, value, partition=1)
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    async with consumer:
        return [(await consumer.getone()).value for _ in values]


@pytest.mark.timeout(120)
async def test_a_broker_carries_records(broker: str) -> None:
    values = [b"a", b"\x00\xff", b"x" * 100_000]
    assert await round_trip(broker, values) == values


@pytest.mark.timeout(180)
async def test_kafka_keeps_its_topics(kafka_home: Path, tmp_path: Path) -> None:
    before = children()
    # A heap that has no room for what the cleaner of compacted topics takes by itself.
    kafka = ApacheKafka(kafka_home, tmp_path, heap_mb=160, partitions=7, port=choose_port())
    topic = "kept"
    with kafka:
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            await producer.send_and_wait(topic, b"a")
            assert len(await producer.partitions_for(topic)) == 7
    with kafka:
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            assert len(await producer.partitions_for(topic)) == 7
    assert children() == before
