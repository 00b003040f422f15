"""The labels of a replay: each once, when it is known, and how far events may go before."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import orjson
import pytest

from engine.history import Chunk
from streams.replay import Labels

NAN = float("nan")


def chunk(*events: tuple[str | None, int, float]) -> Chunk:
    """Events with their ids, times in ms, and labels."""
    ids, times, labels = zip(*events, strict=True)
    return Chunk(
        values=[b"{}"] * len(events),
        keys=[b"c"] * len(events),
        event_ids=list(ids),
        event_time_ms=np.array(times, np.int64),
        labels=np.array(labels, np.float32),
    )


def told(labels: Labels, now_ms: int) -> list[tuple[str, bool, int]]:
    """The labels that are due: the event, what it was, and when that became known."""
    found = []
    for record in labels.due(now_ms):
        body = orjson.loads(record.value or b"")
        assert record.key == body["event_id"].encode()
        assert body["source"] == "replay"
        known = datetime.fromisoformat(body["known_at"]).timestamp() * 1000
        found.append((body["event_id"], body["fraud"], round(known)))
    return found


def test_each_label_is_due_once_and_not_before_it_is_known() -> None:
    labels = Labels(100)
    labels.add(chunk(("a", 1_000, 1.0), ("b", 1_001, 0.0), ("c", 1_050, 1.0)), 0, 3)
    assert told(labels, 1_099) == []
    assert told(labels, 1_101) == [("a", True, 1_100), ("b", False, 1_101)]
    assert told(labels, 1_101) == []
    assert told(labels, 9_999) == [("c", True, 1_150)]


def test_only_events_that_were_published_have_labels() -> None:
    labels = Labels(0)
    part = chunk(("a", 1, 1.0), ("b", 2, 1.0), ("c", 3, 1.0))
    labels.add(part, 1, 2)
    assert told(labels, 9) == [("b", True, 2)]


def test_unknown_labels_and_events_without_an_id_are_left_out() -> None:
    labels = Labels(0)
    labels.add(chunk(("a", 1, NAN), (None, 2, 1.0), ("c", 3, 0.0)), 0, 3)
    assert told(labels, 9) == [("c", False, 3)]


def test_without_a_delay_there_are_none() -> None:
    labels = Labels(None)
    labels.add(chunk(("a", 1, 1.0)), 0, 1)
    assert told(labels, 1 << 40) == []


@pytest.mark.parametrize(
    ("delay_ms", "reach"), [(None, 4), (1_000, 4), (31, 4), (30, 3), (10, 1), (1, 1), (0, 1)]
)
def test_events_go_no_further_than_their_first_label(delay_ms: int | None, reach: int) -> None:
    times = np.array([1_000, 1_010, 1_020, 1_030], np.int64)
    assert Labels(delay_ms).reach(times) == reach
