"""Entities that are missing or wrong, labels that repeat and contradict, workers with little to do.

Where entities are wrong, the others' scores are those of the core all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from engine.bundle import Bundle
from engine.hashing import hash_strings
from engine.schema import Field, FieldType, Role, Schema
from streams.embedded.worker import EmbeddedWorker
from streams.worker import new_stores
from tests.bundles import SCHEMA, TERMINAL, shared_bundle, weights
from tests.streams.harness import Stream, headers
from tests.streams.synthetic import START, Sent, sent
from tests.streams.test_shared_stream import (
    TOLERANCE,
    events_of,
    labels_of,
    largest_difference,
    offline_scores,
)
from tests.waiting import wait_for

MakeStream = Callable[..., Stream]
DAY_S = 86_400


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_bundle(tmp_path_factory.mktemp("bundle") / "shared")


@pytest.fixture(scope="module")
def optional_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose events may have no terminal."""
    terminal = Field("terminal", "terminal_id", FieldType.IDENTIFIER, Role.ENTITY, False, "none")
    fields = [terminal if each.name == "terminal" else each for each in SCHEMA.fields]
    folder = tmp_path_factory.mktemp("bundle") / "optional"
    return shared_bundle(folder, schema=Schema(tuple(fields)))


def without_terminal(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "terminal_id"}


async def terminals_of(stream: Stream) -> set[int]:
    """The terminals that anything was added to."""
    bundle = stream.settings.model.bundle
    assert bundle is not None
    stores = new_stores(stream.settings, Bundle.load(bundle).manifest)
    try:
        return {hashed async for hashed, _ in stores.shared.every_ring("terminal")}
    finally:
        await stores.close()


async def test_an_event_with_a_wrong_entity_is_a_dead_letter_and_adds_nothing(
    make_stream: MakeStream, embedded_broker: str, bundle: Path
) -> None:
    events, _ = events_of(200)
    model = {**events[0], "time": events[100]["time"]}
    bad = {
        "missing_field/absent": without_terminal(model),
        "missing_field/null": {**model, "terminal_id": None},
        "empty": {**model, "terminal_id": ""},
        "too_long": {**model, "terminal_id": "x" * 10_000},
        "too_large": {**model, "terminal_id": "x" * 1_000_000},
        "wrong_type": {**model, "terminal_id": ["p1"]},
    }
    records = [sent(event) for event in events]
    records[100:100] = [sent({**event, "transaction_id": name}) for name, event in bad.items()]
    stream = make_stream(embedded_broker, bundle=bundle, alignment__grace_s=DAY_S)
    await stream.produce(records)
    stream.worker()
    outputs = await stream.collect(len(records))
    reasons = sorted(
        headers(each)["reason"]
        for each in outputs.dead_letters
        if headers(each).get("part", "1") == "1"
    )
    assert reasons == sorted(name.split("/")[0] for name in bad)
    found = {name: body["score"] for name, body in outputs.by_event().items()}
    assert largest_difference(found, offline_scores(bundle, events, None)) <= TOLERANCE
    named = list({event["terminal_id"] for event in events})
    assert await terminals_of(stream) == set(hash_strings(named).tolist())


async def test_events_without_an_optional_entity_are_scored_and_share_nothing(
    make_stream: MakeStream, embedded_broker: str, optional_bundle: Path
) -> None:
    events, frauds = events_of(300)
    events = [without_terminal(event) if at % 3 else event for at, event in enumerate(events)]
    stream = make_stream(embedded_broker, bundle=optional_bundle, alignment__grace_s=DAY_S)
    await stream.produce(labels_of(events, frauds), stream.settings.topics.labels)
    await stream.produce([sent(event) for event in events])
    stream.worker()
    found = await stream.scores(len(events))
    assert largest_difference(found, offline_scores(optional_bundle, events, frauds)) <= TOLERANCE
    named = list({event["terminal_id"] for event in events if "terminal_id" in event})
    assert await terminals_of(stream) == set(hash_strings(named).tolist())


def at_noon(day: int, hours: float = 0) -> str:
    return (START + timedelta(days=day, hours=12 + hours)).isoformat()


def counted(worker: EmbeddedWorker, kind: str) -> float:
    """How many labels of a kind a worker has counted."""
    name = f'riskstream_labels_total{{kind="{kind}"}}'
    page = (worker.get("/metrics") or b"").decode()
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name))


@pytest.mark.slow
async def test_labels_repeat_and_contradict_each_other_across_a_restart(
    make_stream: MakeStream, embedded_broker: str, bundle: Path
) -> None:
    stream = make_stream(embedded_broker, bundle=bundle, topics__partitions=2)
    day_0 = [
        {
            "transaction_id": f"t{at}",
            "time": at_noon(0),
            "card_id": f"card-{at}",
            "terminal_id": "p",
            "amount": 10.0,
        }
        for at in range(4)
    ]

    async def label(event: int, is_fraud: bool, known_at: str) -> None:
        body = {"event_id": f"t{event}", "fraud": is_fraud, "known_at": known_at}
        await stream.produce(
            [Sent(f"t{event}".encode(), orjson.dumps(body))], stream.settings.topics.labels
        )

    async def score_of(name: str, day: int) -> float:
        probe = {
            **day_0[0],
            "transaction_id": name,
            "card_id": f"card of {name}",
            "time": at_noon(day),
        }
        await stream.produce([sent(probe)])
        answered = 4 + int(name.removeprefix("probe "))
        score: float = (await stream.collect(answered)).by_event()[name]["score"]
        return score

    def expected(sums: dict[int, list[float]]) -> float:
        """The score of a first event after these sums, by their age in days."""
        table = np.zeros((TERMINAL.buckets, len(TERMINAL.quantities)))
        for age, row in sums.items():
            table[age] = row
        odds = 0.5 * np.log(11) - 4 + float((table * weights(TERMINAL)).sum())
        return float(1 / (1 + np.exp(-odds)))

    first = stream.worker()
    await stream.produce([sent(event) for event in day_0])
    await stream.collect(4)
    await label(0, True, at_noon(1))
    await label(0, True, at_noon(1, 1))
    await label(1, True, at_noon(1))
    await label(1, False, at_noon(1, 1))
    for kind, times in {"fraud": 2, "repeated": 1, "replaced": 1}.items():
        wait_for(lambda k=kind, n=times: counted(first, k) == n, 60, f"{times} labels {kind}")
    first.stop()
    second = stream.worker()
    await label(2, True, at_noon(1, 2))
    wait_for(lambda: counted(second, "fraud") == 1, 60, "the label after the restart")
    events = [4.0, 40.0, 0.0, 0.0]
    assert await score_of("probe 1", 3) == pytest.approx(
        expected({2: events, 1: [0, 0, 3, 2]}), abs=TOLERANCE
    )
    await label(2, False, at_noon(3, 1))
    await label(1, True, at_noon(3, 1))
    await label(0, False, at_noon(3, 1))
    wait_for(lambda: counted(second, "replaced") == 3, 60, "the labels that replace others")
    assert await score_of("probe 2", 5) == pytest.approx(
        expected({4: events, 3: [0, 0, 3, 2], 1: [1, 10, 0, -1]}), abs=TOLERANCE
    )
    assert (await stream.collect(6)).dead_letters == []


class Spare(EmbeddedWorker):
    """A worker that may have no partitions."""

    def is_ready(self) -> bool:
        return self.get("/healthz") is not None


async def test_one_partition_two_workers_and_no_labels(
    make_stream: MakeStream, embedded_broker: str, bundle: Path
) -> None:
    events, _ = events_of(200)
    stream = make_stream(
        embedded_broker, bundle=bundle, topics__partitions=1, alignment__grace_s=DAY_S
    )
    await stream.produce([sent(event) for event in events[:100]])
    names = ("worker-1", "worker-2")
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(Spare(stream.directory, stream.values, name=name))
        await stream.scores(100)
        await stream.produce([sent(event) for event in events[100:]])
        found = await stream.scores(len(events))
    assert largest_difference(found, offline_scores(bundle, events, None)) <= TOLERANCE
