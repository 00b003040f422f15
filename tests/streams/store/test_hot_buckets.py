"""Closed buckets that are kept are those that would be read, and are not read again."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.shared import Measure, Quantity, SharedEntity, Source
from streams.store.hot_buckets import HotBuckets

KIND = SharedEntity(
    "terminal", "terminal", 3600, 2, 0, (Quantity("n", Source.EVENT, Measure.COUNT),)
)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def given_of(*values: float) -> np.ndarray:
    """What events are given: the same in both buckets."""
    return np.array(values, dtype=np.float32)[:, None, None].repeat(2, axis=1)


def known(hot: HotBuckets, entity: int, closed: int) -> float | None:
    buckets, unknown = hot.get(ints(entity), ints(closed))
    assert buckets.shape == (1, 2, 1)
    return None if unknown[0] else float(buckets[0, 0, 0])


def test_what_was_given_is_given_again_until_a_bucket_closes() -> None:
    hot = HotBuckets(KIND, 10)
    assert known(hot, 7, 3) is None
    hot.put(ints(7, 8), ints(3, 3), given_of(1.0, 2.0))
    assert (known(hot, 7, 3), known(hot, 8, 3), known(hot, 9, 3)) == (1.0, 2.0, None)
    assert known(hot, 7, 4) is None, "another bucket has closed: there may be more in it"
    assert known(hot, 7, 2) is None, "an event that comes late is given what was closed then"


def test_a_late_event_does_not_replace_what_later_ones_are_given() -> None:
    hot = HotBuckets(KIND, 10)
    hot.put(ints(7, 7, 7), ints(3, 5, 4), given_of(3.0, 5.0, 4.0))
    assert known(hot, 7, 5) == 5.0
    hot.put(ints(7), ints(4), given_of(9.0))
    assert (known(hot, 7, 5), known(hot, 7, 4)) == (5.0, None)


def test_nothing_is_known_after_it_was_told_to_forget_or_has_no_room() -> None:
    hot = HotBuckets(KIND, 2)
    hot.put(ints(1, 2), ints(3, 3), given_of(1.0, 2.0))
    hot.put(ints(3), ints(3), given_of(3.0))
    assert [known(hot, each, 3) for each in (1, 2, 3)] == [None, None, 3.0]
    hot.put(ints(4, 5, 6), ints(3, 3, 3), given_of(4.0, 5.0, 6.0))
    assert len(hot) == 0
    hot.put(ints(1), ints(3), given_of(1.0))
    hot.forget()
    assert known(hot, 1, 3) is None
    none = HotBuckets(KIND, 0)
    none.put(ints(1), ints(3), given_of(1.0))
    assert known(none, 1, 3) is None


@given(
    st.lists(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 3)), min_size=1), max_size=12),
    st.integers(0, 8),
)
def test_it_never_tells_what_was_not_put(batches: list[list[tuple[int, int]]], most: int) -> None:
    hot = HotBuckets(KIND, most)
    for batch in batches:
        entities, closed = (ints(*each) for each in zip(*batch, strict=True))
        truth = given_of(*(10 * entities + closed).tolist())
        buckets, unknown = hot.get(entities, closed)
        np.testing.assert_array_equal(buckets[~unknown], truth[~unknown])
        hot.put(entities, closed, truth)
        assert len(hot) <= most
