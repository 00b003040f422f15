"""The stream gives the scores that the core gives without a stream."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from engine.bundle import Bundle
from engine.decode import Decoder
from engine.device import Device
from engine.offline import OfflineScorer
from engine.scorer import Scorer
from models.packs.registry import pack_folder
from tests.streams.harness import Stream
from tests.streams.synthetic import payments, sent

MakeStream = Callable[..., Stream]

TOLERANCE = 1e-5
RECEIVED_MS = 1 << 42


async def riskstream(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "riskstream", *arguments)
    assert await process.wait() == 0


def offline_scores(events: list[dict], batch: int = 4_096) -> dict[str, float]:
    bundle = Bundle.load(pack_folder("fraud") / "bundle")
    offline = OfflineScorer(Decoder(bundle.manifest.schema), Scorer(bundle, Device.CPU))
    values = [orjson.dumps(event) for event in events]
    scores: dict[str, float] = {}
    for start in range(0, len(values), batch):
        found = offline.score(values[start : start + batch], RECEIVED_MS)
        scores |= dict(zip(found.columns.event_ids, found.scored.scores.tolist(), strict=True))
    return scores


def assert_same(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found.keys() == expected.keys()
    names = sorted(expected)
    difference = np.abs([found[name] - expected[name] for name in names])
    assert difference.max() <= TOLERANCE


async def test_score_on_a_file_gives_the_ids_and_scores_of_the_stream(
    make_stream: MakeStream, broker: str, tmp_path: Path
) -> None:
    events = payments(3_000, accounts=60)
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join(orjson.dumps(event) for event in events))
    stream = make_stream(broker)
    stream.worker()
    config = stream.directory / "worker-1.toml"
    await riskstream("replay", str(file), "--config", str(config))
    outputs = await stream.collect(len(events))
    scores = tmp_path / "scores.parquet"
    await riskstream("score", str(file), "--out", str(scores))
    rows = pq.read_table(scores).to_pylist()
    streamed = outputs.by_event()
    assert {row["score_id"] for row in rows} == {each["score_id"] for each in streamed.values()}
    assert {row["event_id"]: row["decision"] for row in rows} == {
        event_id: body["decision"] for event_id, body in streamed.items()
    }
    assert_same(
        {event_id: body["score"] for event_id, body in streamed.items()},
        {row["event_id"]: row["score"] for row in rows},
    )


@pytest.mark.parametrize(
    ("partitions", "max_batch"), [(1, 7), (2, 2_048), (3, 100), (5, 1_000), (8, 33)]
)
async def test_partitions_and_batches_do_not_change_the_scores(
    make_stream: MakeStream, embedded_broker: str, partitions: int, max_batch: int
) -> None:
    events = payments(1_500, accounts=40, seed=partitions)
    stream = make_stream(
        embedded_broker, topics__partitions=partitions, worker__max_batch=max_batch
    )
    await stream.produce([sent(event) for event in events])
    stream.worker()
    outputs = await stream.collect(len(events))
    found = {event_id: body["score"] for event_id, body in outputs.by_event().items()}
    assert_same(found, offline_scores(events))
