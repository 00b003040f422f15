"""Fetching a consumer's records when they are wanted, as columns.

Kafka's client fetches ahead in tasks of its own, which wake each other up five times for a batch,
and makes a record of its parser's own objects, one by one. Of a calm stream, both take longer than
all else that happens to an event until its model runs. Here a request is sent when records are
wanted (ahead only where more wait than an answer holds), and the parser's objects are what is
passed on. Whatever is not plain (no leader or position known, a broker that is away or answers with
an error) is left to the client, which waits, looks for leaders, resets positions and tells errors
as ever.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Set
from itertools import islice
from time import monotonic
from typing import Any, cast

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import KafkaError
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from streams.consumed import Consumed
from streams.protocol import Fetch, Fetched, send

#: Where fewer records are known to wait, the next request is sent when the next ones are wanted:
#: its answer then holds all that came until then, and none of it waits for the batch at hand.
_FEW = 256


class _Asked(msgspec.Struct, frozen=True):
    """A request that is under way.

    Args:
        offsets: where it begins, by partition.
        answer: its answer, once there is one.
    """

    offsets: dict[TopicPartition, int]
    answer: asyncio.Future[Any]


class Fetching:
    """See the module's docstring.

    Args:
        consumer: a started consumer. While its partitions are paused they are fetched here.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._fetcher: Any = cast(Any, consumer)._fetcher
        self._client: Any = cast(Any, consumer)._client
        self._assignment: Any = None
        self._asked: dict[int, _Asked] = {}
        self._ready: dict[TopicPartition, PartitionRecords] = {}
        self._waiter: asyncio.Future[None] | None = None
        #: Whether fetching is left to the client.
        self.is_left = False

    async def records(
        self,
        partitions: Set[TopicPartition],
        timeout: float,  # noqa: ASYNC109
        most: int | None,
    ) -> dict[TopicPartition, Consumed]:
        """Return what there is of partitions; wait for it where there is nothing.

        Args:
            partitions: whose records are wanted.
            timeout: how long to wait, in seconds.
            most: the most records in all; None for all there are.

        Raises:
            KafkaError: what the client tells of a partition, or of the group.
        """
        subscriptions, end_s = self._fetcher._subscriptions, monotonic() + timeout
        while True:
            if subscriptions.reassignment_in_progress:
                await subscriptions.wait_for_assignment()
            self._look_at(subscriptions.subscription.assignment)
            self._receive()
            found = self._take(partitions, most)
            if not found and not self.is_left:
                self._ask(partitions)
            if not found and self.is_left:
                found = await self._by_client(partitions, most)
            left_s = end_s - monotonic()
            if found or left_s <= 0 or self._fetcher._closed:
                break
            await self._wait(left_s)
        if not self.is_left and self._is_behind():
            self._ask(partitions)
        return found

    def _is_behind(self) -> bool:
        """Whether many records of a partition waited behind the last of them that came."""
        for tp in self._assignment.tps:
            state = self._assignment.state_value(tp)
            if tp in self._ready or not state.has_valid_position:
                continue
            if (state.highwater or 0) - state.position >= _FEW:
                return True
        return False

    async def close(self) -> None:
        """Give up what is under way."""
        self._forget()
        # A turn of the loop, in which what was given up ends.
        await asyncio.sleep(0)

    def _forget(self) -> None:
        for asked in self._asked.values():
            asked.answer.cancel()
        self._asked.clear()
        self._ready.clear()

    def _look_at(self, assignment: Any) -> None:
        """Begin anew where other partitions have been assigned."""
        if assignment is self._assignment:
            return
        self._forget()
        self._assignment = assignment
        self._take_over()

    def _take_over(self) -> None:
        """Have the client fetch nothing."""
        self.is_left = False
        for tp in self._assignment.tps:
            self._assignment.state_value(tp).pause()

    def _leave(self) -> None:
        """Have the client fetch."""
        self.is_left = True
        self._ready.clear()
        for tp in self._assignment.tps:
            self._assignment.state_value(tp).resume()

    def _take(
        self, partitions: Set[TopicPartition], most: int | None
    ) -> dict[TopicPartition, Consumed]:
        """Return what is here of partitions, and have them go on after it."""
        found: dict[TopicPartition, Consumed] = {}
        for tp in [tp for tp in self._ready if tp in partitions]:
            if most is not None and most <= 0:
                break
            state, ready = self._assignment.state_value(tp), self._ready[tp]
            if state.position != ready.next_fetch_offset:
                # It has been sought meanwhile.
                del self._ready[tp]
                continue
            records = list(islice(cast(Iterable[Any], ready), most))
            state.consumed_to(ready.next_fetch_offset)
            if most is None or len(records) < most:
                del self._ready[tp]
            if records:
                found[tp] = Consumed.of(tp.topic, tp.partition, records)
                most = None if most is None else most - len(records)
        return found

    def _ask(self, wanted: Set[TopicPartition]) -> None:
        """Ask the leaders for all partitions of which nothing is here, unless they were asked.

        What is not wanted now is asked for too: it may be, long before this is answered.
        """
        # What the client fetched before it was told not to would be kept for nothing.
        self._fetcher._records.clear()
        by_leader: defaultdict[int, dict[TopicPartition, int]] = defaultdict(dict)
        for tp in self._assignment.tps:
            leader = self._client.cluster.leader_for_partition(tp)
            if tp in self._ready or leader in self._asked:
                continue
            if self._is_plain(tp):
                by_leader[leader][tp] = self._assignment.state_value(tp).position
            elif tp in wanted:
                self._leave()
                return
        for leader, offsets in by_leader.items():
            answer = send(self._client, leader, self._request(offsets))
            answer.add_done_callback(self._wake)
            self._asked[leader] = _Asked(offsets, answer)

    def _is_plain(self, tp: TopicPartition) -> bool:
        """Whether it is known who has a partition, and where to go on in it."""
        leader = self._client.cluster.leader_for_partition(tp)
        state = self._assignment.state_value(tp)
        is_led = leader is not None and leader >= 0
        return is_led and state is not None and bool(state.has_valid_position)

    def _request(self, offsets: dict[TopicPartition, int]) -> Fetch:
        fetcher = self._fetcher
        return Fetch(
            offsets,
            fetcher._fetch_max_wait_ms,
            fetcher._fetch_min_bytes,
            fetcher._fetch_max_bytes,
            fetcher._max_partition_fetch_bytes,
            fetcher._isolation_level,
        )

    def _receive(self) -> None:
        """Keep what has been answered."""
        for leader in [each for each, asked in self._asked.items() if asked.answer.done()]:
            asked = self._asked.pop(leader)
            try:
                answer = asked.answer.result()
            except KafkaError:
                # The client meets the same error, says so, and tries again in its own time.
                self._leave()
                return
            if not self._keep(asked, answer):
                self._leave()
                return

    def _keep(self, asked: _Asked, answer: Iterable[Fetched]) -> bool:
        """Keep an answer's records, and return whether all of it was plain."""
        now_ms, is_plain = time.time_ns() // 1_000_000, True
        for each in answer:
            state = self._assignment.state_value(each.partition)
            if not state.has_valid_position or state.position != asked.offsets[each.partition]:
                # It has been sought meanwhile.
                continue
            if each.error:
                is_plain = False
                continue
            state.highwater, state.lso, state.timestamp = each.highwater, each.stable, now_ms
            records = MemoryRecords(each.records)
            if records.has_next():
                self._ready[each.partition] = self._parsing(each, records, state.position)
            elif each.records:
                # A record that is larger than a fetch may be.
                is_plain = False
        return is_plain

    def _parsing(self, found: Fetched, records: MemoryRecords, offset: int) -> PartitionRecords:
        """Return what parses and checks records (checksums, aborted transactions) as it goes."""
        fetcher = self._fetcher
        parsing = PartitionRecords(
            found.partition,
            records,
            found.aborted,
            offset,
            None,
            None,
            fetcher._check_crcs,
            fetcher._isolation_level,
        )
        cast(Any, parsing)._consumer_record = _parsed
        return parsing

    async def _by_client(
        self, partitions: Set[TopicPartition], most: int | None
    ) -> dict[TopicPartition, Consumed]:
        """Return what the client has fetched; once that is something, it is left to it no more."""
        fetcher = self._fetcher
        for result in fetcher._records.values():
            _pass_on_parsed(result)
        found = await fetcher.fetched_records(partitions, 0, most)
        is_over = not fetcher._records and self._assignment.active
        if found and is_over and all(map(self._is_plain, partitions)):
            self._take_over()
        return {tp: Consumed.of(tp.topic, tp.partition, each) for tp, each in found.items()}

    async def _wait(self, timeout: float) -> None:  # noqa: ASYNC109
        """Wait as the client itself does: until something comes, or an error that this raises."""
        self._waiter = waiter = self._fetcher._create_fetch_waiter()
        # A timer of one's own: asyncio's timeouts take longer to set than most waits are.
        timer = asyncio.get_running_loop().call_later(timeout, _end, waiter)
        try:
            await waiter
        finally:
            timer.cancel()

    def _wake(self, answer: asyncio.Future[Any]) -> None:
        """Go on where an answer is waited for."""
        if not answer.cancelled():
            # Whoever reads the answer sees the error; one that is given up has nobody.
            answer.exception()
        if self._waiter is not None:
            _end(self._waiter)


def _end(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _pass_on_parsed(result: Any) -> None:
    """Have what was fetched of a partition pass on what its parser made."""
    records = getattr(result, "_partition_records", None)
    if records is not None:
        records._consumer_record = _parsed


def _parsed(_: TopicPartition, record: Any) -> Any:
    return record
