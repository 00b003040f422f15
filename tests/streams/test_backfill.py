"""A stream that begins with a backfill gives the scores of one that read everything."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from engine.bundle import Bundle
from streams.embedded.worker import to_toml
from streams.stores import new_generations, new_stores
from tests.bundles import shared_bundle
from tests.streams.harness import Stream
from tests.streams.synthetic import sent
from tests.streams.test_shared_stream import events_of, largest_difference

MakeStream = Callable[..., Stream]

CUT = "2026-01-08"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_bundle(tmp_path_factory.mktemp("bundle") / "shared")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve days of labelled payments."""
    events, frauds = events_of(3_000, seed=5)
    lines = [
        orjson.dumps({**event, "fraud": float(fraud)})
        for event, fraud in zip(events, frauds, strict=True)
    ]
    path = tmp_path_factory.mktemp("history") / "events.jsonl"
    path.write_bytes(b"\n".join(lines))
    return path


def config_of(stream: Stream) -> Path:
    path = stream.directory / "config.toml"
    path.write_text(to_toml(stream.values), encoding="utf-8")
    return path


async def riskstream(*arguments: object) -> tuple[int, bytes, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "riskstream", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    return process.returncode or 0, stdout, stderr.decode()


async def scores_of(file: Path, stream: Stream, tmp_path: Path) -> dict[str, float]:
    """The scores that the core gives after the cut, knowing everything before."""
    output = tmp_path / "scores.parquet"
    config = config_of(stream)
    code, _, error = await riskstream(
        "score", file, "--out", output, "--labels-delay", "2d", "--config", config
    )
    assert code == 0, error
    rows = pq.read_table(output).to_pylist()
    return {row["event_id"]: row["score"] for row in rows if str(row["event_time"]) >= CUT}


async def test_a_stream_after_a_backfill_gives_the_scores_of_the_core(
    make_stream: MakeStream, joined_broker: str, bundle: Path, file: Path, tmp_path: Path
) -> None:
    stream = make_stream(joined_broker, bundle=bundle, alignment__grace_s=86_400)
    config = config_of(stream)
    cut = ("--labels-delay", "2d", "--config", config)
    code, stdout, error = await riskstream(
        "state", "backfill", file, "--until", CUT, *cut, "--json"
    )
    assert code == 0, error
    told = orjson.loads(stdout)
    assert told["events"] + len(await scores_of(file, stream, tmp_path)) == 3_000
    assert (told["accounts"], told["entities"]["terminal"], told["generation"]) == (40, 12, 1)
    assert told["kept_events"] == told["events"]
    stream.worker(worker__web_port=0)
    code, _, error = await riskstream("replay", file, "--from", CUT, *cut)
    assert code == 0, error
    expected = await scores_of(file, stream, tmp_path)
    found = await stream.scores(len(expected))
    assert largest_difference(found, expected) <= 1e-5
    assert (await stream.collect(len(expected))).dead_letters == []


async def test_an_interrupted_backfill_changes_nothing_and_goes_on_where_it_was(
    make_stream: MakeStream,
    apache_kafka: str,
    bundle: Path,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from engine.errors import StoreUnavailable
    from riskstream import state
    from streams import backfill
    from streams.store.redis.shared import RedisSharedStore

    stream = make_stream(apache_kafka, bundle=bundle)
    manifest = Bundle.load(bundle).manifest
    monkeypatch.setattr(backfill, "_PIECE", 20)
    loads = []
    real = RedisSharedStore.load

    async def fail_at_fourth(self: Any, *content: Any) -> None:
        loads.append(content)
        if len(loads) == 4:
            raise StoreUnavailable("gone")
        await real(self, *content)

    monkeypatch.setattr(RedisSharedStore, "load", fail_at_fourth)
    arguments = {"labels_delay": "2d", "config": config_of(stream)}
    with pytest.raises(StoreUnavailable):
        await asyncio.to_thread(state.backfill, file, **arguments)
    generations = new_generations(stream.settings, manifest)
    assert await generations.current() == 0
    first = len(loads)
    await asyncio.to_thread(state.backfill, file, **arguments)
    assert await generations.current() == 1
    distinct = {"terminal": 12, "account": 40}
    rings = [distinct[kind.field] for kind in manifest.shared]
    whole = sum(-(-n // 20) for n in (40, *rings, 3_000))
    assert len(loads) - first == whole - (first - 1)
    stores = new_stores(stream.settings, manifest, 1)
    kept = [each async for each in stores.shared.every_ring("terminal")]
    assert len(kept) == 12
    await stores.close()
    # The next one replaces it, and its keys go.
    await asyncio.to_thread(state.backfill, file, until=CUT, **arguments)
    assert await generations.current() == 2
    old = new_stores(stream.settings, manifest, 1)
    assert [each async for each in old.shared.every_ring("terminal")] == []
    assert [each async for each in old.events.states(0)] == []
    await old.close()
    await generations.close()


async def test_a_backfill_is_refused_while_workers_run(
    make_stream: MakeStream, apache_kafka: str, bundle: Path, file: Path
) -> None:
    stream = make_stream(apache_kafka, bundle=bundle)
    await stream.produce([sent(event) for event in events_of(10)[0]])
    stream.worker(worker__web_port=0)
    await stream.scores(10)
    code, _, error = await riskstream("state", "backfill", file, "--config", config_of(stream))
    assert code == 1
    assert "no worker may run while the states of app.id" in error
    assert "however: 1 do; stop them" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--go-on", "yesterday"), "--go-on must be one of time, beginning, end, however"),
        (("--from", "2030-01-01"), "a history must have events, however: events.jsonl has none"),
        (("--labels-delay", "soon"), "--labels-delay must be a number and a unit"),
    ],
)
async def test_a_wrong_option_is_refused(
    make_stream: MakeStream,
    embedded_broker: str,
    bundle: Path,
    file: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    config = config_of(make_stream(embedded_broker, bundle=bundle))
    code, _, error = await riskstream("state", "backfill", file, *arguments, "--config", config)
    assert code == 2
    assert message in error.replace("\n", " ")


async def test_memory_cannot_be_backfilled(
    make_stream: MakeStream, embedded_broker: str, bundle: Path, file: Path
) -> None:
    stream = make_stream(embedded_broker, bundle=bundle, state__url="memory://")
    code, _, error = await riskstream("state", "backfill", file, "--config", config_of(stream))
    assert code == 2
    assert "a backfill must have a store that outlives it" in error


def test_pieces_hold_everything_once_and_always_alike() -> None:
    from streams.backfill import Content

    rng = np.random.default_rng(0)
    content = Content(
        {f"a{at}": b"s" for at in range(4_500)},
        {"terminal": dict.fromkeys(range(2001), b"r"), "holder": {}},
        {int(each): b"e" for each in rng.integers(0, 1 << 60, 10)},
    )
    pieces = list(content.pieces())
    assert [len(each) for each in pieces] == [2_000, 2_000, 500, 2_000, 1, 10]
    assert list(content.pieces()) == pieces
