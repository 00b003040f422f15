"""A store that lost states whose events Kafka no longer holds: told, waited for, and accepted."""

from __future__ import annotations

import asyncio
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from redis import Redis

from streams.committed import Committed
from streams.embedded.processes import choose_port
from streams.embedded.valkey import EmbeddedValkey
from streams.embedded.worker import EmbeddedWorker
from streams.losses import loss_of
from streams.ranges import Held
from tests.cli.running import riskstream
from tests.streams.harness import Stream
from tests.streams.synthetic import payments, sent
from tests.streams.test_positions import delete_before
from tests.waiting import wait_for

MakeStream = Callable[..., Stream]


@pytest.mark.parametrize(
    ("position", "beginning", "offset", "note", "records"),
    [
        (100, 500, 900, "d1", 400),
        (None, 500, 900, "d1", 500),
        (None, 500, 300, "d1", 300),
        # Generation 2 is in the store no more.
        (100, 500, 900, "d1~2", 400),
        (100, 100, 900, "d1", None),
        (900, 950, 900, "d1", None),
        (None, 0, 900, "d1", None),
        (100, 500, 900, "d0", None),
        (100, 500, 900, "", None),
    ],
)
def test_what_is_lost_for_good(
    position: int | None, beginning: int, offset: int, note: str, records: int | None
) -> None:
    held = Held(beginning, 1_000)
    loss = loss_of("payments", 3, position, held, Committed(offset, note), "d1")
    assert (loss and loss.records) == records
    assert loss_of("payments", 3, position, held, None, "d1") is None
    # A backfill has loaded newer states than the offset's.
    assert loss_of("payments", 3, position, held, Committed(offset, "d1"), "d1~1") is None


async def test_a_loss_is_told_and_waits_until_it_is_accepted(
    make_stream: MakeStream, apache_kafka: str, tmp_path: Path
) -> None:
    events = payments(400, accounts=40)
    with EmbeddedValkey(tmp_path / "store", port=choose_port()) as store:
        stream = make_stream(apache_kafka, state__url=store.url, topics__partitions=2)
        worker = stream.worker(worker__commit_interval_s=0.2)
        await stream.produce([sent(event) for event in events[:200]])
        await stream.collect(200)
        worker.stop()
        with Redis.from_url(store.url) as redis:
            redis.flushall()
        await stream.produce([sent(event) for event in events[200:]])
        await delete_before(stream, 1, 40)
        second = stream.begun()
        topic = stream.settings.topics.transactions
        wait_for(lambda: f"partition 1 of {topic}" in not_ready(second), 60, "/readyz to name it")
        (line,) = [each for each in second.log_path.read_text().splitlines() if "is lost" in each]
        assert "ERROR" in line
        assert "from 0 to 39" in line
        assert "riskstream state repair" in line
        config = stream.write_config("repair", {})
        found = await asyncio.to_thread(repair, config, "--json")
        (loss,) = orjson.loads(found.stdout)["losses"]
        assert (loss["topic"], loss["partition"], loss["records"]) == (topic, 1, 40)
        assert found.returncode == 1
        wait_for(lambda: worker_waits(second), 60, "the worker to wait")
        done = await asyncio.to_thread(repair, config, "--accept-loss")
        assert done.returncode == 0, done.stderr
        assert "40 records" in done.stdout
        wait_for(lambda: not worker_waits(second), 60, "the worker to go on")
        outputs = await stream.collect(400)
        assert outputs.by_event().keys() == {event["transaction_id"] for event in events}
        again = await asyncio.to_thread(repair, config)
        assert again.returncode == 0
        assert "nothing is lost" in again.stdout


def repair(config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return riskstream("state", "repair", "-c", config, *options, cwd=config.parent)


def worker_waits(worker: EmbeddedWorker) -> bool:
    return "is lost" in not_ready(worker)


def not_ready(worker: EmbeddedWorker) -> str:
    """What ``/readyz`` says is wrong; nothing where it is ready."""
    try:
        with urllib.request.urlopen(f"{worker.url}/readyz", timeout=5):
            return ""
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.read().decode()
    except OSError:
        return ""
