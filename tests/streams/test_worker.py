"""A worker's life: start, pages, clean stop, crash, company, and servers that are not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.embedded.processes import choose_port
from streams.embedded.valkey import EmbeddedValkey
from streams.embedded.worker import EmbeddedWorker
from tests.streams.harness import Stream
from tests.streams.synthetic import Sent, payments, sent
from tests.streams.test_stream_offline import assert_same, offline_scores
from tests.waiting import wait_for

MakeStream = Callable[..., Stream]


def page(worker: EmbeddedWorker, path: str) -> bytes:
    return wait_for(lambda: worker.get(path), 60, f"an answer of {path}")


async def test_pages_tell_of_broker_state_model_and_events(
    make_stream: MakeStream, broker: str
) -> None:
    events = payments(500, accounts=20)
    stream = make_stream(broker)
    worker = stream.worker()
    await stream.produce([*(sent(event) for event in events), Sent(b"a", b"not json")])
    await stream.collect(len(events) + 1)
    assert orjson.loads(page(worker, "/healthz")) == {"status": "ok"}
    ready = orjson.loads(page(worker, "/readyz"))
    assert ready["status"] == "ready"
    assert {name: ready[name]["ok"] for name in ("broker", "state", "work", "model")} == {
        "broker": True,
        "state": True,
        "work": True,
        "model": True,
    }
    assert ready["broker"]["partitions"] == [0, 1, 2, 3]

    def counted() -> dict[tuple[str, ...], float]:
        families = text_string_to_metric_families(page(worker, "/metrics").decode())
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
        }

    def all_counted() -> dict[tuple[str, ...], float] | None:
        now = counted()
        answered = now.get(("riskstream_latency_seconds_count",)) == len(events) + 1
        return now if answered and now.get(("riskstream_lag_events", "0")) == 0 else None

    found = wait_for(all_counted, 60, "all events to be counted, and the lag to be gone")
    decisions = ("approve", "review", "decline")
    assert sum(found["riskstream_scores_total", name] for name in decisions) == len(events)
    assert found["riskstream_dead_letters_total", "not_json"] == 1
    assert found["riskstream_latency_seconds_bucket", "+Inf"] == len(events) + 1


async def test_a_list_of_brokers_may_have_spaces(
    make_stream: MakeStream, embedded_broker: str
) -> None:
    stream = make_stream(embedded_broker)
    stream.worker(broker__bootstrap=f"{embedded_broker} , {embedded_broker}")
    await stream.produce([sent(event) for event in payments(10)])
    await stream.collect(10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_worker_that_ends_is_followed_where_it_left_off(
    make_stream: MakeStream, joined_broker: str, number: signal.Signals
) -> None:
    events = payments(6_000, accounts=50)
    stream = make_stream(joined_broker, worker__max_batch=100)
    first = stream.worker()
    await stream.produce([sent(event) for event in events[:3_000]])
    await stream.collect(500)
    assert first.pid is not None
    os.kill(first.pid, number)
    wait_for(lambda: not first.running, 60, "the worker to end")
    await stream.produce([sent(event) for event in events[3_000:]])
    stream.worker()
    outputs = await stream.collect(len(events))
    bodies = outputs.by_event()
    assert_same(
        {event_id: body["score"] for event_id, body in bodies.items()}, offline_scores(events)
    )
    repeated = [orjson.loads(record.value) for record in outputs.scores]
    assert not any(body["duplicate"] for body in repeated)
    if number is signal.SIGTERM:
        assert len(repeated) == len(events)


async def test_two_workers_share_the_partitions_and_one_takes_over(
    make_stream: MakeStream, joined_broker: str
) -> None:
    events = payments(6_000, accounts=50)
    stream = make_stream(joined_broker)
    first, second = stream.worker(), stream.worker()

    def shares() -> list[list[int]]:
        pages = [worker.get("/readyz") for worker in (first, second)]
        return [
            orjson.loads(each)["broker"].get("partitions", []) if each else [] for each in pages
        ]

    wait_for(
        lambda: all(found := shares()) and sorted(chain.from_iterable(found)) == [0, 1, 2, 3],
        60,
        "both to have some, and each partition to have one",
    )
    await stream.produce([sent(event) for event in events[:3_000]])
    await stream.collect(3_000)
    first.kill()
    await stream.produce([sent(event) for event in events[3_000:]])
    outputs = await stream.collect(len(events))
    found = {event_id: body["score"] for event_id, body in outputs.by_event().items()}
    assert_same(found, offline_scores(events))


def run_worker(directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    quick = {
        "RISKSTREAM_BROKER__CONNECT_TIMEOUT_S": "0.5",
        "RISKSTREAM_STATE__CONNECT_TIMEOUT_S": "0.5",
        "RISKSTREAM_WORKER__WEB_PORT": "0",
    }
    return subprocess.run(
        [sys.executable, "-m", "riskstream", "worker"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), **quick, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_broker_that_is_not_there_is_one_clear_line(tmp_path: Path, valkey_url: str) -> None:
    address = f"127.0.0.1:{choose_port(None)}"
    done = run_worker(
        tmp_path, RISKSTREAM_BROKER__BOOTSTRAP=address, RISKSTREAM_STATE__URL=valkey_url
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("error:")]
    assert address in line
    assert "broker.bootstrap" in line


def test_a_store_that_is_not_there_is_one_clear_line(tmp_path: Path, embedded_broker: str) -> None:
    url = f"redis://:hidden@127.0.0.1:{choose_port(None)}/0"
    done = run_worker(
        tmp_path, RISKSTREAM_BROKER__BOOTSTRAP=embedded_broker, RISKSTREAM_STATE__URL=url
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "hidden" not in done.stderr
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("error:")]
    assert url.split("@")[1].split("/")[0] in line
    assert "state.url" in line


def test_a_bundle_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = run_worker(tmp_path, RISKSTREAM_MODEL__BUNDLE=str(tmp_path / "nowhere"))
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "nowhere") in done.stderr


async def test_a_store_that_comes_back_is_written_to_and_nothing_is_lost(
    make_stream: MakeStream, embedded_broker: str, tmp_path: Path
) -> None:
    events = payments(3_000, accounts=50)
    port = choose_port(None)
    with EmbeddedValkey(tmp_path / "store", port=port, appendonly=True) as store:
        stream = make_stream(embedded_broker, state__url=store.url)
        worker = stream.worker()
        await stream.produce([sent(event) for event in events[:1_500]])
        await stream.collect(1_500)
        store.kill()
        await stream.produce([sent(event) for event in events[1_500:]])
        wait_for(lambda: "trying again" in worker.log_tail(), 60, "the worker to notice")
        assert page(worker, "/healthz")
        assert worker.get("/readyz") is None
        store.start()
        outputs = await stream.collect(len(events))
    found = {event_id: body["score"] for event_id, body in outputs.by_event().items()}
    assert_same(found, offline_scores(events))


async def test_a_worker_that_no_partition_is_left_for_is_ready_to_take_over(
    make_stream: MakeStream, apache_kafka: str
) -> None:
    stream = make_stream(apache_kafka, topics__partitions=1)
    first = stream.worker()
    spare = stream.spare()

    def partitions(worker: EmbeddedWorker) -> list[int] | None:
        page = worker.get("/readyz")
        found: list[int] | None = orjson.loads(page)["broker"]["partitions"] if page else None
        return found

    wait_for(
        lambda: sorted([*(partitions(first) or []), *(partitions(spare) or [])]) == [0],
        60,
        "one to own it",
    )
    wait_for(lambda: [] in (partitions(first), partitions(spare)), 60, "the spare to be ready")
    owner, other = (first, spare) if partitions(first) else (spare, first)
    owner.kill()
    wait_for(lambda: partitions(other) == [0], 60, "the spare to take over")
