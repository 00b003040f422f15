"""The stream gives what the core gives without a stream, for every pack."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import orjson
import pytest

from engine.history import History
from models.packs.registry import pack_folder
from tests.packs.tools import answers, bundle_of, offline_of
from tests.streams.harness import Stream
from tests.streams.synthetic import Sent

MakeStream = Callable[..., Stream]

TOLERANCE = 1e-5
EVENTS = 1_200
RECEIVED_MS = 1 << 42


def slice_of(pack: str, file: str) -> tuple[list[bytes], list[bytes]]:
    """The keys and the values of the last events of a pack's demo."""
    history = History.open(pack_folder(pack) / "demo" / file, bundle_of(pack).manifest.schema)
    (chunk,) = history.slice(len(history) - EVENTS, len(history)).chunks(EVENTS)
    return [key or b"" for key in chunk.keys], chunk.values


@pytest.mark.parametrize(
    ("pack", "file"), [("credit", "statements.parquet"), ("market", "bars.parquet")]
)
async def test_scores_and_what_stands_beside_them_are_those_of_the_core(
    make_stream: MakeStream, broker: str, pack: str, file: str
) -> None:
    keys, values = slice_of(pack, file)
    stream = make_stream(broker, pack_folder(pack) / "bundle", worker__max_batch=256)
    await stream.produce([Sent(key, value) for key, value in zip(keys, values, strict=True)])
    stream.worker()
    batch = offline_of(pack).score(values, RECEIVED_MS)
    outputs = await stream.collect(len(values), alerts=np.count_nonzero(batch.scored.decisions))
    assert not outputs.dead_letters
    manifest = bundle_of(pack).manifest
    found = outputs.by_event()
    bodies = [found[event_id] for event_id in batch.columns.event_ids]
    streamed = [
        [each["score"], *(each["outputs"][name] for name in manifest.outputs)] for each in bodies
    ]
    expected = np.array(answers(batch))
    scale = np.maximum(np.abs(expected), 1.0)
    assert (np.abs(np.array(streamed) - expected) / scale).max() <= TOLERANCE
    assert [each["decision"] for each in bodies] == [
        manifest.decisions[each] for each in batch.scored.decisions.tolist()
    ]
    alerts = {
        orjson.loads(each.value)["event_id"]: orjson.loads(each.value) for each in outputs.alerts
    }
    assert alerts.keys() == {
        each["event_id"] for each in bodies if each["decision"] != manifest.decisions[0]
    }
    for alert in alerts.values():
        gravest = alert["rules"][-1]
        assert alert["decision"] in [
            each.decision for each in manifest.rules if each.name == gravest["name"]
        ]
        assert gravest["value"] >= gravest["limit"]
        for reason in alert["reasons"]:
            assert {manifest.reasons_in, "group", "text"} == {*reason}
