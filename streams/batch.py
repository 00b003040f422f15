"""The records of a poll that are processed together, and the records that come of them."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
from aiokafka import ConsumerRecord
from numpy.typing import NDArray

from engine.columns import Reject
from engine.records import Origin, Record, dead_letter
from streams.transport import Poll


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of a poll that are to be processed, partition after partition.

    Args:
        poll: the poll.
        records: the records.
        positions: the position that the batch brings each partition to.
        expected: the position that the store held of each when the batch began.
    """

    poll: Poll
    records: list[ConsumerRecord]
    positions: dict[int, int]
    expected: dict[int, int | None]

    @property
    def published_ms(self) -> NDArray[np.int64]:
        """When each record was published, in ms since 1970; int64 ``[n]``."""
        return np.fromiter(
            (record.timestamp for record in self.records), dtype=np.int64, count=len(self.records)
        )

    def of(self, partitions: Container[int]) -> NDArray[np.bool_]:
        """Return which records are of some partitions; bool ``[n]``."""
        return np.fromiter(
            (record.partition in partitions for record in self.records),
            dtype=np.bool_,
            count=len(self.records),
        )


def grouped(
    batch: Batch, rows: Sequence[int], records: Sequence[Record]
) -> list[tuple[int | None, list[Record]]]:
    """Put each record into the partition its event came from, so that accounts stay in order."""
    by_partition: dict[int | None, list[Record]] = {}
    for row, record in zip(rows, records, strict=True):
        by_partition.setdefault(batch.records[row].partition, []).append(record)
    return list(by_partition.items())


def dead_letters(batch: Batch, reject: Reject, part_bytes: int) -> list[Record]:
    """Return the dead letter of a reject, in as many records of an event's bytes as it takes."""
    record = batch.records[reject.row]
    origin = Origin(record.topic, record.partition, record.offset, record.timestamp)
    return dead_letter(reject, record.key, record.value, origin, part_bytes)


def rekeyed(batch: Batch, reject: Reject) -> Record:
    """Return a record with a wrong key as it is published again: under its account."""
    record = batch.records[reject.row]
    account = reject.account or ""
    return Record(account.encode(), record.value, (("rekeyed", b"1"),))
