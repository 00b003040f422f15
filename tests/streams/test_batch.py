"""Batches that are cut and joined say what their records say when they are decoded alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import orjson
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from engine.columns import Decoded
from engine.decode import Decoder
from engine.label_decode import DecodedLabels
from engine.labels import LabelReader
from streams.batch import Batch
from streams.consumed import Consumed, runs
from tests.bundles import SCHEMA, SHARED
from tests.engine.tools import NOW_MS, payment

HOUR_MS = 3_600_000
READER = LabelReader(SCHEMA, SHARED, max_bytes=1_000, max_future_ms=0)
DECODER = Decoder(SCHEMA)

#: (partition, hours before now or None for what cannot be read)
RECORDS = st.lists(st.tuples(st.integers(0, 2), st.none() | st.integers(0, 5)), max_size=12).map(
    lambda records: sorted(records, key=lambda each: each[0])
)
Said = Sequence[tuple[int, int | None]]


def value_of(at: int, hours: int | None, is_label: bool) -> bytes:
    if hours is None:
        return (b"{", b"", b'{"event_id": 1}')[at % 3]
    time = str(np.datetime64(NOW_MS - hours * HOUR_MS, "ms")) + "Z"
    if is_label:
        return orjson.dumps({"event_id": f"t{at}", "fraud": at % 2 == 0, "known_at": time})
    return orjson.dumps(payment(transaction_id=f"t{at}", time=time, amount=float(at)))


def records_of(said: Said, is_label: bool) -> list[ConsumerRecord]:
    offsets: dict[int, int] = {}
    records = []
    for at, (partition, hours) in enumerate(said):
        offset = offsets.get(partition, 0)
        offsets[partition] = offset + 1
        value = value_of(at, hours, is_label)
        records.append(
            ConsumerRecord("t", partition, offset, NOW_MS, 0, None, value, None, 0, len(value), ())
        )
    return records


def batch_of(records: list[ConsumerRecord], is_label: bool) -> Batch[Any]:
    values = [each.value for each in records]
    content: Any
    if is_label:
        content = READER.decode(values, [each.timestamp for each in records], NOW_MS)
    else:
        content = DECODER.decode(values, NOW_MS)
    return Batch(consumed(records), {each.partition: 7 for each in records}, NOW_MS, content)


def consumed(records: list[ConsumerRecord]) -> Consumed:
    parts = groupby(records, key=lambda each: each.partition)
    return Consumed.joined(
        [Consumed.of("t", 0, []), *(Consumed.of("t", at, list(part)) for at, part in parts)]
    )


def assert_same(found: Batch[Any], expected: Batch[Any]) -> None:
    a, b = found.records, expected.records
    for name in ("partitions", "offsets", "timestamps_ms"):
        assert_array_equal(getattr(a, name), getattr(b, name))
    assert (a.keys, a.values) == (b.keys, b.values)
    assert found.epochs == expected.epochs
    a, b = found.content, expected.content
    assert type(a) is type(b)
    assert a.rejects == b.rejects
    assert_array_equal(a.rows, b.rows)
    assert_array_equal(a.time_ms, b.time_ms)
    if isinstance(a, Decoded):
        assert a.columns.event_ids == b.columns.event_ids
        assert a.columns.accounts == b.columns.accounts
        for name in b.columns.values:
            assert_array_equal(a.columns.values[name], b.columns.values[name])
    else:
        assert isinstance(a, DecodedLabels)
        assert a.event_ids == b.event_ids
        assert_array_equal(a.events, b.events)
        assert_array_equal(a.fraud, b.fraud)


@given(RECORDS, st.booleans(), st.data())
def test_a_part_is_what_its_records_alone_say(
    said: Said, is_label: bool, data: st.DataObject
) -> None:
    records = records_of(said, is_label)
    mask = data.draw(st.lists(st.booleans(), min_size=len(records), max_size=len(records)))
    keep = np.array(mask, dtype=np.bool_)
    kept = [each for each, is_kept in zip(records, mask, strict=True) if is_kept]
    assert_same(batch_of(records, is_label).part(keep), batch_of(kept, is_label))


@given(st.lists(RECORDS, min_size=1, max_size=4), st.booleans())
def test_batches_joined_are_what_all_their_records_say(parts: list[Said], is_label: bool) -> None:
    records = [records_of(said, is_label) for said in parts]
    joined = Batch.joined([batch_of(each, is_label) for each in records])
    assert_same(joined, batch_of([each for part in records for each in part], is_label))
    assert joined.positions.keys() == set(joined.partitions.tolist())


@given(RECORDS, st.booleans(), st.integers(-1, 6), st.sets(st.integers(0, 3)))
def test_a_cut_holds_back_each_partition_from_its_first_late_record_on(
    said: Said, is_label: bool, hours: int, blocked: set[int]
) -> None:
    limit_ms = NOW_MS - hours * HOUR_MS
    records = records_of(said, is_label)
    before, after = batch_of(records, is_label).cut(limit_ms, blocked)
    held = set(blocked)
    early, late = [], []
    for record, (partition, ago) in zip(records, said, strict=True):
        if ago is not None and NOW_MS - ago * HOUR_MS >= limit_ms:
            held.add(partition)
        (late if partition in held else early).append(record)
    assert_same(before, batch_of(early, is_label))
    assert_same(after, batch_of(late, is_label))


@given(RECORDS, st.booleans(), st.sets(st.integers(0, 3)))
def test_partitions_that_are_left_alone_are_gone(
    said: Said, is_label: bool, left: set[int]
) -> None:
    records = records_of(said, is_label)

    def is_left(partition: int, epoch: int) -> bool:
        assert epoch == 7
        return partition in left

    found = batch_of(records, is_label).without(is_left)
    kept = [each for each in records if each.partition not in left]
    assert_same(found, batch_of(kept, is_label))
    assert found.positions == {
        partition: sum(each.partition == partition for each in kept)
        for partition in {each.partition for each in kept}
    }


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40)), max_size=12))
def test_runs_are_those_of_equal_partitions_however_many(lengths: list[tuple[int, int]]) -> None:
    partitions = [each for each, n in lengths for _ in range(n)]
    expected, at = [], 0
    for each, mine in groupby(partitions):
        n = len(list(mine))
        expected.append((each, at, at + n))
        at += n
    assert runs(np.array(partitions, dtype=np.int64)) == expected
