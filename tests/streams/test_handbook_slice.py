"""The bundle that comes with riskstream, on its demo's payments: online is offline.

The whole of it, sixty days of all payments and a week compared, is ``make handbook``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from engine.bundle import Bundle
from engine.decode import Decoder
from engine.device import Device
from engine.history import History
from engine.offline import OfflineScorer
from engine.scorer import Scorer
from models.packs.registry import pack_folder
from streams.replay import Labels, replay
from tests.streams.harness import Stream

MakeStream = Callable[..., Stream]

CARDS = 80
DAYS = 21
DELAY_MS = 7 * 86_400_000
RECEIVED_MS = 1 << 42


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """Three weeks of a few cards' payments."""
    table = pq.read_table(pack_folder("fraud") / "demo" / "transactions.parquet")
    cards = np.unique(table.column("card_id").to_numpy())[:CARDS]
    table = table.filter(pc.is_in(table.column("card_id"), pa.array(cards)))
    time = table.column("time")
    until = pc.add(pc.min(time), pa.scalar(DAYS * 86_400, pa.duration("s")))
    path = tmp_path_factory.mktemp("history") / "payments.parquet"
    pq.write_table(table.filter(pc.less(time, until)), path)
    bundle = Bundle.load(pack_folder("fraud") / "bundle")
    return History.open(path, bundle.manifest.schema)


def core_scores(history: History, labels: bool) -> dict[str, float]:
    bundle = Bundle.load(pack_folder("fraud") / "bundle")
    offline = OfflineScorer(
        Decoder(bundle.manifest.schema), Scorer(bundle, Device.CPU), DELAY_MS if labels else None
    )
    scores: dict[str, float] = {}
    for chunk in history.chunks():
        found = offline.score(chunk.values, RECEIVED_MS, chunk.labels)
        scores |= dict(zip(found.columns.event_ids, found.scored.scores.tolist(), strict=True))
    return scores


async def test_two_workers_and_late_labels_give_the_scores_of_the_core(
    make_stream: MakeStream, apache_kafka: str, history: History, tmp_path: Path
) -> None:
    stream = make_stream(apache_kafka, alignment__grace_s=86_400)
    await replay(stream.settings, history, None, lambda _: None, Labels(DELAY_MS))
    for _ in range(2):
        stream.worker(worker__web_port=0)
    expected = core_scores(history, labels=True)
    found = await stream.scores(len(expected))
    assert found.keys() == expected.keys()
    assert max(abs(found[each] - expected[each]) for each in expected) <= 1e-4
    # The labels matter, or this would show little.
    without = core_scores(history, labels=False)
    assert max(abs(without[each] - expected[each]) for each in expected) > 0.01
