"""The order of a feed's backlog across its partitions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from streams.ordering import Backlog

A, B, C = (TopicPartition("alerts", at) for at in range(3))


def records(partition: TopicPartition, *times_ms: int) -> list[Any]:
    return [
        SimpleNamespace(topic=partition.topic, partition=partition.partition, timestamp=each)
        for each in times_ms
    ]


def times(found: list[Any]) -> list[int]:
    return [each.timestamp for each in found]


def test_a_record_waits_until_every_partition_has_come_as_far() -> None:
    backlog = Backlog({A: 3, B: 2})
    assert times(backlog.add(records(A, 10, 30), {A: 2, B: 0})) == []
    assert times(backlog.add(records(B, 20), {A: 2, B: 1})) == [10, 20]
    assert times(backlog.add(records(B, 25), {A: 2, B: 2})) == [25, 30]
    assert backlog.behind == [A]
    assert times(backlog.add(records(A, 40), {A: 3})) == [40]
    assert backlog.behind == []


def test_a_partition_without_records_holds_nothing_back() -> None:
    backlog = Backlog({A: 1, B: 7, C: 0})
    assert times(backlog.add(records(A, 10), {A: 1, B: 7, C: 0})) == [10]


def test_after_the_backlog_nothing_is_held_back() -> None:
    backlog = Backlog({})
    assert times(backlog.add([*records(A, 30), *records(B, 10, 20)], {})) == [10, 20, 30]
    assert times(backlog.add(records(C, 5), {})) == [5]
