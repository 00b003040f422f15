"""Taking records from Kafka's client as columns, without an object for each of them.

The client makes a record of its parser's own objects, one by one, which takes longer than all else
that happens to an event until its model runs. Here its checks run as ever (checksums, aborted
transactions, positions), and the parser's objects are what they pass on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set
from time import monotonic
from typing import Any

from aiokafka.structs import TopicPartition

from streams.consumed import Consumed


async def fetched(
    fetcher: Any,
    partitions: Set[TopicPartition],
    timeout: float,  # noqa: ASYNC109
    most: int | None,
) -> dict[TopicPartition, Consumed]:
    """Return what has been fetched of partitions; wait for it where there is nothing.

    Args:
        fetcher: the client's, an ``aiokafka.consumer.fetcher.Fetcher``.
        partitions: whose records are wanted.
        timeout: how long to wait, in seconds.
        most: the most records of a partition, and in all; None for all there are.
    """
    end_s = monotonic() + timeout
    while True:
        for result in fetcher._records.values():
            _pass_on_parsed(result)
        found = await fetcher.fetched_records(partitions, 0, most)
        left_s = end_s - monotonic()
        if found or left_s <= 0 or fetcher._closed:
            return {tp: Consumed.of(tp.topic, tp.partition, each) for tp, each in found.items()}
        # As the client itself waits: until something comes, or an error that this raises.
        waiter = fetcher._create_fetch_waiter()
        try:
            async with asyncio.timeout(left_s):
                await waiter
        except TimeoutError:
            return {}


def _pass_on_parsed(result: Any) -> None:
    """Have what was fetched of a partition pass on what its parser made."""
    records = getattr(result, "_partition_records", None)
    if records is not None:
        records._consumer_record = _parsed


def _parsed(_: TopicPartition, record: Any) -> Any:
    return record
