"""The two requests of every batch are the bytes that aiokafka's own would be."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.protocol.fetch import FetchRequest, FetchResponse_v11
from aiokafka.protocol.produce import ProduceRequest, ProduceResponse_v7
from hypothesis import given
from hypothesis import strategies as st

from streams.protocol import Fetch, FetchAnswer, Fetched, NotSpoken, Produce, ProduceAnswer

PARTITIONS = st.builds(
    TopicPartition, st.text("abc.é-_", min_size=1, max_size=20), st.integers(0, 2**31 - 1)
)
OFFSETS = st.integers(0, 2**63 - 1)


def by_topic(partitions: dict[TopicPartition, Any]) -> list[tuple[str, list[Any]]]:
    topics: dict[str, list[Any]] = {}
    for tp, value in partitions.items():
        topics.setdefault(tp.topic, []).append((tp.partition, value))
    return list(topics.items())


@given(st.dictionaries(PARTITIONS, OFFSETS, max_size=6), st.sampled_from([0, 1]))
def test_a_fetch_is_written_as_aiokafka_writes_it(
    offsets: dict[TopicPartition, int], isolation_level: int
) -> None:
    topics = [
        (topic, [(partition, offset, 4_096) for partition, offset in parts])
        for topic, parts in by_topic(offsets)
    ]
    theirs = FetchRequest(500, 1, 99_999, isolation_level, topics).prepare({1: (4, 11)})
    ours = Fetch(offsets, 500, 1, 99_999, 4_096, isolation_level).prepare({1: (4, 17)})
    assert ours.encode() == theirs.encode()
    assert header_of(ours) == header_of(theirs)


@given(st.dictionaries(PARTITIONS, st.binary(max_size=50), max_size=6))
def test_a_produce_is_written_as_aiokafka_writes_it(batches: dict[TopicPartition, bytes]) -> None:
    request = ProduceRequest(
        transactional_id=None, required_acks=-1, timeout=30_000, topics=by_topic(batches)
    )
    theirs = request.prepare({0: (3, 7)})
    ours = Produce(batches, 30_000).prepare({0: (3, 12)})
    assert ours.encode() == theirs.encode()
    assert header_of(ours) == header_of(theirs)


def header_of(request: Any) -> bytes:
    header: bytes = request.build_request_header(correlation_id=17, client_id="name-é").encode()
    return header


FETCHED = st.builds(
    Fetched,
    PARTITIONS,
    st.integers(-1, 100),
    OFFSETS,
    OFFSETS,
    st.lists(st.tuples(OFFSETS, OFFSETS), max_size=3),
    st.binary(max_size=50),
)


@given(st.lists(FETCHED, max_size=6, unique_by=lambda each: each.partition), st.booleans())
def test_what_was_fetched_is_read_as_it_was_written(found: list[Fetched], has_nulls: bool) -> None:
    parts = {
        each.partition: (
            each.error,
            each.highwater,
            each.stable,
            0,
            each.aborted or (None if has_nulls else []),
            -1,
            each.records or (None if has_nulls else b""),
        )
        for each in found
    }
    topics = [(topic, [(at, *rest) for at, rest in each]) for topic, each in by_topic(parts)]
    raw = FetchResponse_v11(0, 0, 0, topics).encode()
    by_partition = {each.partition: each for each in FetchAnswer.decode(after_header(raw))}
    assert by_partition == {each.partition: each for each in found}


def test_an_error_of_the_whole_fetch_is_each_partitions() -> None:
    part = (3, 0, 9, 9, 0, [], -1, b"")
    raw = FetchResponse_v11(0, 70, 0, [("a", [part])]).encode()
    assert [each.error for each in FetchAnswer.decode(after_header(raw))] == [70]


@given(st.dictionaries(PARTITIONS, st.integers(-1, 100), max_size=6))
def test_what_was_produced_is_read_as_it_was_written(errors: dict[TopicPartition, int]) -> None:
    parts = {tp: (error, 5, -1, 0) for tp, error in errors.items()}
    topics = [(topic, [(at, *rest) for at, rest in each]) for topic, each in by_topic(parts)]
    raw = ProduceResponse_v7(topics, 0).encode()
    assert ProduceAnswer.decode(after_header(raw)) == errors


def after_header(raw: bytes) -> BytesIO:
    """An answer whose header, its number, has been read."""
    buffer = BytesIO(b"\0\0\0\x11" + raw)
    assert Produce({}, 0).parse_response_header(buffer).correlation_id == 17
    return buffer


@pytest.mark.parametrize("versions", [{}, {0: (0, 6), 1: (0, 10)}, {0: (8, 13), 1: (12, 17)}])
def test_a_broker_of_another_version_is_left_to_aiokafka(
    versions: dict[int, tuple[int, int]],
) -> None:
    for request in (Produce({}, 0), Fetch({}, 0, 0, 0, 0, 0)):
        with pytest.raises(NotSpoken) as refused:
            request.prepare(versions)
        assert refused.value.retriable
