from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from engine import buckets as ring
from engine.buckets import SLACK, Additions
from engine.errors import BundleError
from engine.shared import Measure, Quantity, SharedEntity, Source
from tests.bundles import TERMINAL

COUNTED = replace(TERMINAL, buckets=3, quantities=TERMINAL.quantities[:2])
DAY_MS = 86_400_000

#: (entity, bucket, first sum, second sum); whole numbers, so that sums are exact.
ADDED = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(20_000, 20_009), st.integers(-3, 3), st.integers(0, 9)
    ),
    max_size=40,
)


def additions(parts: list[tuple[int, int, int, int]]) -> Additions:
    rows = np.array(parts, dtype=np.int64).reshape(-1, 4)
    return Additions.summed(rows[:, 0], rows[:, 1], rows[:, 2:].astype(np.float32))


@given(ADDED, st.lists(st.integers(0, 40), max_size=3), st.integers(20_000, 20_012))
def test_a_ring_holds_the_sums_of_its_last_buckets(
    parts: list[tuple[int, int, int, int]], cuts: list[int], day: int
) -> None:
    rings = np.zeros(3, dtype=ring.record(COUNTED))
    edges = [0, *sorted(min(cut, len(parts)) for cut in cuts), len(parts)]
    sums: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    newest = dict.fromkeys(range(3), 0)
    for start, stop in itertools.pairwise(edges):
        added = additions(parts[start:stop])
        ring.add(COUNTED, rings, added.entities, added)
        for entity, bucket, *_ in parts[start:stop]:
            newest[entity] = max(newest[entity], bucket)
        for entity, bucket, first, second in parts[start:stop]:
            if bucket > newest[entity] - COUNTED.buckets - SLACK:
                sums[entity, bucket][0] += first
                sums[entity, bucket][1] += second
    event_time_ms = np.full(3, day * DAY_MS + 2 * 3_600_000)
    found = ring.read(COUNTED, rings, event_time_ms)
    for entity in range(3):
        for at in range(COUNTED.buckets):
            bucket = day - 1 - at
            held = bucket > newest[entity] - COUNTED.buckets - SLACK
            expected = sums[entity, bucket] if held else [0, 0]
            assert found[entity, at].tolist() == expected


def test_a_bucket_closes_its_grace_after_its_end() -> None:
    times = np.array([DAY_MS * 10 + 3_600_000 - 1, DAY_MS * 10 + 3_600_000])
    assert TERMINAL.closed(times).tolist() == [8, 9]
    assert TERMINAL.bucket(times).tolist() == [10, 10]


def test_what_adds_nothing_is_left_out_and_the_rest_is_added_up() -> None:
    added = additions([(1, 20_001, 2, 3), (0, 20_000, 0, 0), (1, 20_001, 1, 1), (1, 20_000, 0, 1)])
    assert added.entities.tolist() == [1, 1]
    assert added.buckets.tolist() == [20_000, 20_001]
    assert_array_equal(added.amounts, [[0, 1], [3, 4]])


def test_a_ring_is_the_same_bytes_everywhere() -> None:
    rings = np.zeros(1, dtype=ring.record(COUNTED))
    added = additions([(0, 20_000, 1, 2)])
    ring.add(COUNTED, rings, added.entities, added)
    raw = rings[0].tobytes()
    assert len(raw) == 8 + 4 * 2 * (3 + SLACK)
    assert raw[:8] == (20_000).to_bytes(8, "little")
    row = 20_000 % (3 + SLACK)
    assert np.frombuffer(raw[8:], "<f4").reshape(-1, 2)[row].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a b"}, "a shared entity's name must be letters, digits and underscores"),
        ({"bucket_s": 0}, "bucket_s >= 1"),
        ({"buckets": 0}, "1 to 1000 buckets"),
        ({"buckets": 1_001}, "1 to 1000 buckets"),
        ({"grace_s": -1}, "a bucket's grace must lie between 0 and its length"),
        ({"grace_s": 86_401}, "a bucket's grace must lie between 0 and its length"),
        ({"quantities": ()}, "must have quantities"),
        ({"quantities": TERMINAL.quantities[:1] * 2}, "each with a name of its own"),
    ],
)
def test_a_wrong_declaration_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        replace(TERMINAL, **changes)  # type: ignore[arg-type]


def test_only_labels_are_positive() -> None:
    with pytest.raises(BundleError, match="give it source = label"):
        Quantity("frauds", Source.EVENT, Measure.POSITIVE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speed": 1}, "a shared entity may have .*, however: \\['speed'\\]"),
        ({"quantities": [{"name": "n"}]}, "a quantity must have 'source'"),
        ({"quantities": [{"name": "n", "source": "x"}]}, "must be one of event, label"),
        ({"quantities": [{"name": "n", "kind": "x"}]}, "a quantity may have"),
    ],
)
def test_a_wrong_table_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        SharedEntity.from_dict({**TERMINAL.to_dict(), **change})


def test_the_digest_changes_with_the_meaning_and_not_with_the_grace() -> None:
    assert replace(TERMINAL, grace_s=0).digest == TERMINAL.digest
    others = {replace(TERMINAL, buckets=4).digest, replace(TERMINAL, field="account").digest}
    assert len({TERMINAL.digest, *others}) == 3
    assert SharedEntity.from_dict(TERMINAL.to_dict()) == TERMINAL
