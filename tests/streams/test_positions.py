"""Positions and topics that do not fit together: another topic, deleted events, a new topic."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import orjson
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from engine.bundle import Bundle
from models.packs.registry import pack_folder
from streams.embedded.worker import EmbeddedWorker
from streams.store.base import PartitionWrite
from streams.stores import new_store
from tests.streams.harness import Stream
from tests.streams.synthetic import payments, sent
from tests.waiting import wait_for, wait_for_async

MakeStream = Callable[..., Stream]


def counted(worker: EmbeddedWorker, name: str) -> float:
    """A metric's value, all labels together."""
    page = wait_for(lambda: worker.get("/metrics"), 60, "the metrics").decode()
    lines = [line.split() for line in page.splitlines() if line.startswith(name)]
    return sum(float(words[-1]) for words in lines if words[0].split("{")[0] == name)


@contextmanager
def paused(worker: EmbeddedWorker) -> Iterator[None]:
    """Stop a worker where it is, and let it go on after the block."""
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker.pid, signal.SIGCONT)


async def delete_before(stream: Stream, partition: int, offset: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stream.settings.broker.bootstrap)
    await admin.start()
    try:
        tp = TopicPartition(stream.settings.topics.transactions, partition)
        await admin.delete_records({tp: RecordsToDelete(before_offset=offset)})
    finally:
        await admin.close()


async def make_again(stream: Stream) -> None:
    """Delete the transactions topic and make it again, empty."""
    topic = stream.settings.topics.transactions
    admin = AIOKafkaAdminClient(bootstrap_servers=stream.settings.broker.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic])

        async def gone() -> bool:
            return topic not in await admin.list_topics()

        await wait_for_async(gone, 60, "the topic to be gone")
    finally:
        await admin.close()


async def test_another_topic_is_scored_from_its_beginning(
    make_stream: MakeStream, joined_broker: str
) -> None:
    events = payments(300, accounts=20)
    stream = make_stream(joined_broker)
    first = stream.worker()
    await stream.produce([sent(event) for event in events[:200]])
    await stream.collect(200)
    first.stop()
    other = make_stream(
        joined_broker,
        **{
            "app__id": stream.name,
            "topics__scores": stream.settings.topics.scores,
            "topics__alerts": stream.settings.topics.alerts,
            "topics__dead_letters": stream.settings.topics.dead_letters,
        },
    )
    await other.produce([sent(event) for event in events[200:]])
    other.worker()
    outputs = await stream.collect(300)
    assert outputs.by_event().keys() == {event["transaction_id"] for event in events}


async def test_deleted_events_are_told_at_the_start(
    make_stream: MakeStream, apache_kafka: str
) -> None:
    events = payments(300, accounts=20)
    stream = make_stream(apache_kafka, topics__partitions=1)
    first = stream.worker()
    await stream.produce([sent(event) for event in events[:100]])
    await stream.collect(100)
    first.stop()
    await stream.produce([sent(event) for event in events[100:]])
    await delete_before(stream, 0, 150)
    second = stream.worker()
    outputs = await stream.collect(250)
    assert len(outputs.scores) == 250
    topic = stream.settings.topics.transactions
    line = f"50 events of partition 0 of {topic} were deleted before they were scored"
    assert line in second.log_tail(100)
    assert counted(second, "riskstream_lost_events_total") == 50


async def test_deleted_events_are_told_once_however_often_partitions_move(
    make_stream: MakeStream, apache_kafka: str
) -> None:
    events = payments(200, accounts=40)
    stream = make_stream(apache_kafka, topics__partitions=2)
    first = stream.worker()
    await stream.produce([sent(event) for event in events[:100]])
    await stream.collect(100)
    first.stop()
    await stream.produce([sent(event) for event in events[100:]])
    for partition in (0, 1):
        await delete_before(stream, partition, -1)
    second = stream.worker()
    assert counted(second, "riskstream_lost_events_total") == 100
    third = stream.worker()
    wait_for(lambda: shares(second) == shares(third) == 1, 60, "each worker to have a partition")
    assert counted(second, "riskstream_lost_events_total") == 100


def shares(worker: EmbeddedWorker) -> int:
    """How many partitions a worker has."""
    page = worker.get("/readyz")
    return len(orjson.loads(page)["broker"].get("partitions", [])) if page else 0


async def test_events_deleted_while_running_are_told(
    make_stream: MakeStream, apache_kafka: str
) -> None:
    events = payments(300, accounts=20)
    stream = make_stream(apache_kafka, topics__partitions=1)
    worker = stream.worker()
    await stream.produce([sent(event) for event in events[:100]])
    await stream.collect(100)
    with paused(worker):
        # A fetch that was under way is answered with the first; all others are unread.
        await stream.produce([sent(event) for event in events[100:101]])
        await stream.produce([sent(event) for event in events[101:]])
        await delete_before(stream, 0, 250)
    outputs = await stream.collect(150)
    lost = counted(worker, "riskstream_lost_events_total")
    assert lost > 0
    assert lost == len(events) - len(outputs.scores)
    assert f"{lost:.0f} events of partition 0" in worker.log_tail(100)


async def test_a_topic_made_again_stops_the_worker_with_what_to_do(
    make_stream: MakeStream, apache_kafka: str
) -> None:
    events = payments(100, accounts=20)
    stream = make_stream(apache_kafka, topics__partitions=1)
    first = stream.worker()
    await stream.produce([sent(event) for event in events])
    await stream.collect(100)
    first.stop()
    await make_again(stream)
    await stream.produce([sent(event) for event in events[:30]])
    failed = stream.fails()
    assert failed.returncode == 1
    (line,) = [each for each in failed.stderr.splitlines() if each.startswith("error:")]
    for said in (stream.settings.topics.transactions, "partition 0", "position 100", "end 30"):
        assert said in line
    assert "app.id" in line
    assert "Traceback" not in failed.stderr


async def test_a_topic_made_again_under_a_worker_stops_it(
    make_stream: MakeStream, apache_kafka: str
) -> None:
    events = payments(100, accounts=20)
    stream = make_stream(apache_kafka, topics__partitions=1)
    worker = stream.worker()
    await stream.produce([sent(event) for event in events])
    await stream.collect(100)
    # A worker that finds no topic asks for it by name, which makes it again.
    with paused(worker):
        await make_again(stream)
        await stream.produce([sent(event) for event in events[:30]])
    wait_for(lambda: not worker.running, 60, "the worker to stop")
    text = worker.log_path.read_text()
    assert "error:" in text
    assert stream.settings.topics.transactions in text


async def test_a_fenced_worker_that_stays_the_owner_goes_on(
    make_stream: MakeStream, embedded_broker: str
) -> None:
    events = payments(160, accounts=20)
    # For as long as that `/readyz` names the partition.
    stream = make_stream(embedded_broker, topics__partitions=1, broker__session_timeout_s=15.0)
    worker = stream.worker()
    await stream.produce([sent(event) for event in events[:100]])
    await stream.collect(100)
    manifest = Bundle.load(pack_folder("fraud") / "bundle").manifest
    store = new_store(stream.settings, manifest, stream.settings.topics.transactions)

    async def position() -> int | None:
        return (await store.positions([0]))[0]

    async def reached(wanted: int) -> bool:
        return await position() == wanted

    await wait_for_async(lambda: reached(100), 60, "the position to be written")
    (outcome,) = await store.write([PartitionWrite(0, 100, 110, {})])
    assert outcome.done
    await stream.produce([sent(event) for event in events[100:150]])
    wait_for(lambda: "fenced partitions 0" in not_ready(worker), 60, "/readyz to name it")
    await wait_for_async(lambda: reached(150), 60, "the worker to go on")
    await stream.produce([sent(event) for event in events[150:]])
    await wait_for_async(lambda: reached(160), 60, "new events to be scored")
    await store.close()
    wait_for(worker.is_ready, 60, "the worker to be ready")
    assert counted(worker, "riskstream_events_total") == 150, "what was fenced is not counted"


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
