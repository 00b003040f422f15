"""Shared entities and labels in the stream: what the core knows of a history, at each event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from aiokafka import AIOKafkaProducer

from engine.bundle import Bundle
from engine.decode import Decoder
from engine.device import Device
from engine.history import History
from engine.offline import OfflineScorer
from engine.scorer import Scorer
from streams.replay import Labels, replay
from tests.bundles import SCHEMA, shared_bundle
from tests.streams.harness import Stream, headers
from tests.streams.synthetic import START, Sent, sent
from tests.waiting import wait_for

MakeStream = Callable[..., Stream]

DAYS = 12
#: The steps of the alignment are not what these are about, and each takes a round trip.
DAY_S = 86_400
DELAY = timedelta(days=2)
TOLERANCE = 1e-5
RECEIVED_MS = 1 << 42


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_bundle(tmp_path_factory.mktemp("bundle") / "shared")


def events_of(n: int, seed: int = 0) -> tuple[list[dict[str, Any]], list[bool]]:
    """Payments over twelve days, in the order of time, and which are frauds."""
    rng = np.random.default_rng(seed)
    seconds = np.sort(rng.integers(0, DAYS * DAY_S, n)).tolist()
    cards, places = rng.integers(0, 40, n).tolist(), rng.integers(0, 12, n).tolist()
    amounts = np.round(rng.lognormal(3.5, 1.5, n), 2).tolist()
    events = [
        {
            "transaction_id": f"t{at}",
            "time": (START + timedelta(seconds=seconds[at])).isoformat(),
            "card_id": f"card-{cards[at]}",
            "terminal_id": f"p{places[at]}",
            "amount": amounts[at],
        }
        for at in range(n)
    ]
    return events, (rng.random(n) < 0.3).tolist()


def labels_of(events: Sequence[dict[str, Any]], frauds: Sequence[bool]) -> list[Sent]:
    """The events' labels, each known two days later."""
    return [
        Sent(
            event["transaction_id"].encode(),
            orjson.dumps(
                {
                    "event_id": event["transaction_id"],
                    "fraud": fraud,
                    "known_at": (datetime.fromisoformat(event["time"]) + DELAY).isoformat(),
                }
            ),
        )
        for event, fraud in zip(events, frauds, strict=True)
    ]


def offline_scores(
    bundle: Path, events: Sequence[dict[str, Any]], frauds: Sequence[bool] | None
) -> dict[str, float]:
    loaded = Bundle.load(bundle)
    offline = OfflineScorer(
        Decoder(loaded.manifest.schema),
        Scorer(loaded, Device.CPU),
        round(DELAY.total_seconds() * 1000),
    )
    labels = None if frauds is None else np.array(frauds, dtype=np.float32)
    found = offline.score([orjson.dumps(event) for event in events], RECEIVED_MS, labels)
    return dict(zip(found.columns.event_ids, found.scored.scores.tolist(), strict=True))


def largest_difference(found: dict[str, float], expected: dict[str, float]) -> float:
    assert found.keys() == expected.keys()
    names = sorted(expected)
    return float(np.abs([found[name] - expected[name] for name in names]).max())


async def test_a_replay_with_labels_gives_the_scores_of_the_core(
    make_stream: MakeStream, joined_broker: str, bundle: Path
) -> None:
    events, frauds = events_of(1_500)
    stream = make_stream(joined_broker, bundle=bundle, alignment__grace_s=DAY_S)
    await stream.produce(labels_of(events, frauds), stream.settings.topics.labels)
    await stream.produce([sent(event) for event in events])
    for _ in range(2):
        stream.worker(worker__web_port=0)
    found = await stream.scores(len(events))
    expected = offline_scores(bundle, events, frauds)
    assert largest_difference(found, expected) <= TOLERANCE
    # The labels matter, or this would show nothing.
    assert largest_difference(expected, offline_scores(bundle, events, None)) > 0.01
    assert (await stream.collect(len(events))).dead_letters == []


async def test_a_replay_into_topics_that_idle_workers_read_does_too(
    make_stream: MakeStream, joined_broker: str, bundle: Path, tmp_path: Path
) -> None:
    events, frauds = events_of(1_500, seed=2)
    lines = [
        orjson.dumps({**event, "fraud": float(fraud)})
        for event, fraud in zip(events, frauds, strict=True)
    ]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(lines))
    history = History.open(tmp_path / "events.jsonl", SCHEMA)
    stream = make_stream(joined_broker, bundle=bundle, alignment__grace_s=DAY_S)
    for _ in range(2):
        stream.worker()
    labels = Labels(round(DELAY.total_seconds() * 1000))
    await replay(stream.settings, history, None, lambda _: None, labels)
    found = await stream.scores(len(events))
    assert largest_difference(found, offline_scores(bundle, events, frauds)) <= TOLERANCE
    assert (await stream.collect(len(events))).dead_letters == []


async def test_workers_that_are_killed_add_nothing_twice(
    make_stream: MakeStream, apache_kafka: str, bundle: Path
) -> None:
    events, frauds = events_of(2_500, seed=1)
    stream = make_stream(
        apache_kafka, bundle=bundle, worker__max_batch=100, alignment__grace_s=DAY_S
    )
    await stream.produce(labels_of(events, frauds), stream.settings.topics.labels)
    await stream.produce([sent(event) for event in events])
    async with stream.reader() as (consumer, _):
        seen = 0
        for target in (500, 1_000, 1_800):
            worker = stream.worker(worker__web_port=0)
            while seen < target:
                seen += sum(map(len, (await consumer.getmany(timeout_ms=100)).values()))
            worker.kill()
    stream.worker(worker__web_port=0)
    found = await stream.scores(len(events))
    assert largest_difference(found, offline_scores(bundle, events, frauds)) <= TOLERANCE


async def test_a_bad_label_is_a_dead_letter_with_its_reason_and_origin(
    make_stream: MakeStream, embedded_broker: str, bundle: Path
) -> None:
    now = datetime.now(UTC)
    event = {**events_of(1)[0][0], "time": (now - timedelta(days=1)).isoformat()}
    stream = make_stream(embedded_broker, bundle=bundle, topics__partitions=1)
    await stream.produce([sent(event)])
    worker = stream.worker()
    await stream.collect(1)

    def label(**changes: Any) -> Sent:
        body = {"event_id": "t0", "fraud": True, "known_at": now.isoformat()} | changes
        return Sent(str(body["event_id"]).encode(), orjson.dumps(body))

    bad = {
        "unknown_event": label(event_id="t99"),
        "before_event": label(known_at=(now - timedelta(days=2)).isoformat()),
        "in_the_future": label(known_at=(now + timedelta(days=2)).isoformat()),
        "not_json": Sent(b"t0", b"{"),
        "wrong_type": label(fraud="maybe"),
        "too_long": label(event_id="x" * 1_000),
    }
    outdated = label(fraud=False, known_at=(now - timedelta(hours=1)).isoformat())
    await stream.produce([*bad.values(), label(), outdated], stream.settings.topics.labels)
    outputs = await stream.collect(1 + len(bad) + 1)
    found = [headers(each) for each in outputs.dead_letters]
    assert [each["reason"] for each in found] == [*bad, "outdated"]
    assert {each["topic"] for each in found} == {stream.settings.topics.labels}
    assert [int(each["offset"]) for each in found] == [0, 1, 2, 3, 4, 5, 7]
    assert outputs.dead_letters[0].value == bad["unknown_event"].value
    page = wait_for(
        lambda: (found := worker.get("/metrics")) and b'labels_total{kind="fraud"} 1' in found,
        60,
        "the label to be counted",
    )
    assert page


async def test_events_of_transactions_hold_up_nobody_and_what_is_taken_back_is_no_event(
    make_stream: MakeStream, apache_kafka: str, bundle: Path
) -> None:
    events, _ = events_of(300, seed=5)
    stream = make_stream(
        apache_kafka, bundle=bundle, alignment__grace_s=DAY_S, topics__partitions=2
    )
    worker = stream.worker()
    topic = stream.settings.topics.transactions
    producer = AIOKafkaProducer(
        bootstrap_servers=apache_kafka, transactional_id=f"{stream.name}-upstream"
    )
    await producer.start()
    try:
        # One partition ends early in event time, with the end of a transaction.
        for partition, some in ((0, events[:20]), (1, events[20:])):
            async with producer.transaction():
                for event in some:
                    await producer.send(topic, *_value_and_key(event), partition=partition)
        await producer.begin_transaction()
        for event in events[:20]:
            again = {**event, "transaction_id": f"{event['transaction_id']}-aborted"}
            await producer.send(topic, *_value_and_key(again), partition=0)
        await producer.flush()
        await producer.abort_transaction()
    finally:
        await producer.stop()
    found = await stream.scores(len(events))
    assert found.keys() == {event["transaction_id"] for event in events}

    def lag() -> list[str]:
        page = (worker.get("/metrics") or b"").decode().splitlines()
        return [line for line in page if line.startswith("riskstream_lag_events{")]

    wait_for(
        lambda: len(lag()) == 2 and all(line.endswith(" 0.0") for line in lag()),
        60,
        "no event to be left",
    )


def _value_and_key(event: dict[str, Any]) -> tuple[bytes, bytes]:
    record = sent(event)
    assert record.value is not None
    assert record.key is not None
    return record.value, record.key
