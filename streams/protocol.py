"""The two requests that every batch needs, read and written by structs.

aiokafka's own are read and written field by field after a schema, which takes a small batch longer
than the network does. These are the same bytes (https://kafka.apache.org/protocol), of one version
each, and are given to aiokafka's connections in the place of its own. Where a broker does not speak
that version, :class:`NotSpoken` says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from struct import Struct
from typing import Any, ClassVar, NamedTuple, Self

from aiokafka import TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.conn import CloseReason
from aiokafka.errors import KafkaError, RequestTimedOutError

_INT, _SHORT = Struct(">i"), Struct(">h")
#: The request's kind, its version, the answer's number, and the length of the client's name.
_HEADER = Struct(">hhih")
_FETCH_HEAD = Struct(">iiiibiii")
_FETCH_PARTITION = Struct(">iiqqi")
_FETCHED_HEAD, _FETCHED_PARTITION = Struct(">ihii"), Struct(">ihqqqi")
_ABORTED = Struct(">qq")
_PRODUCE_HEAD = Struct(">hhii")
_PRODUCE_PARTITION = Struct(">ii")
_PRODUCED_PARTITION = Struct(">ihqqq")
#: No topic is forgotten, and no rack is named.
_FETCH_TAIL = _INT.pack(0) + _SHORT.pack(0)


class NotSpoken(KafkaError):  # type: ignore[misc]  # aiokafka's errors are untyped
    """A broker does not speak the version of a request; aiokafka's own request has others."""

    retriable = True


class Fetched(NamedTuple):
    """What a fetch brings of a partition.

    Args:
        partition: which one.
        error: Kafka's number of an error; 0 is none.
        highwater: its end.
        stable: the end of what no open transaction holds up.
        aborted: producer and first offset of each aborted transaction.
        records: record batches, as Kafka keeps them.
    """

    partition: TopicPartition
    error: int
    highwater: int
    stable: int
    aborted: list[tuple[int, int]]
    records: bytes


class _Header(NamedTuple):
    """A header as aiokafka's connections want it."""

    raw: bytes

    def encode(self) -> bytes:
        return self.raw


class _Answered(NamedTuple):
    """An answer's header as aiokafka's connections want it."""

    correlation_id: int


class _Request:
    """What aiokafka's connections want of a request, and of its answer's type."""

    API_KEY: ClassVar[int]
    API_VERSION: ClassVar[int]

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> Self:
        least, most = versions.get(self.API_KEY, (0, -1))
        if not least <= self.API_VERSION <= most:
            raise NotSpoken(f"the broker speaks versions {least} to {most} of {self.API_KEY}")
        return self

    def build_request_header(self, correlation_id: int, client_id: str) -> _Header:
        name = client_id.encode()
        head = _HEADER.pack(self.API_KEY, self.API_VERSION, correlation_id, len(name))
        return _Header(head + name)

    def parse_response_header(self, buffer: BytesIO) -> _Answered:
        return _Answered(*_INT.unpack(buffer.read(_INT.size)))


def _text(raw: bytes, at: int) -> tuple[str, int]:
    """Return the text at a place, and where it ends."""
    start = at + _SHORT.size
    end = start + _SHORT.unpack_from(raw, at)[0]
    return raw[start:end].decode(), end


def _items(raw: bytes, at: int) -> tuple[range, int]:
    """Return the places of an array's items (none, where it is null), and where they begin."""
    return range(_INT.unpack_from(raw, at)[0]), at + _INT.size


class FetchAnswer:
    """Reads the answer to :class:`Fetch`: a list of :class:`Fetched`."""

    @staticmethod
    def decode(buffer: BytesIO) -> list[Fetched]:
        """Return what an answer brings; its header has been read."""
        raw, found = buffer.getvalue(), []
        _, error, _, topics = _FETCHED_HEAD.unpack_from(raw, buffer.tell())
        at = buffer.tell() + _FETCHED_HEAD.size
        for _ in range(topics):
            topic, at = _text(raw, at)
            partitions, at = _items(raw, at)
            for _ in partitions:
                partition, own, highwater, stable, _, n = _FETCHED_PARTITION.unpack_from(raw, at)
                at += _FETCHED_PARTITION.size
                aborted = [
                    _ABORTED.unpack_from(raw, each)
                    for each in range(at, at + n * _ABORTED.size, _ABORTED.size)
                ]
                # The preferred replica, and how many bytes of records there are.
                at += len(aborted) * _ABORTED.size + _INT.size
                size = max(_INT.unpack_from(raw, at)[0], 0)
                at += _INT.size
                tp = TopicPartition(topic, partition)
                records = raw[at : at + size]
                found.append(Fetched(tp, own or error, highwater, stable, aborted, records))
                at += size
        return found


@dataclass(frozen=True, slots=True)
class Fetch(_Request):
    """Asks a leader for partitions' records.

    Args:
        offsets: where to begin, for each partition.
        max_wait_ms: how long the broker waits for ``min_bytes``.
        min_bytes, max_bytes: of all partitions together.
        max_partition_bytes: of each.
        isolation_level: 1 where records of open transactions are not wanted, otherwise 0.
    """

    API_KEY: ClassVar[int] = 1
    API_VERSION: ClassVar[int] = 11
    RESPONSE_TYPE: ClassVar[Any] = FetchAnswer

    offsets: Mapping[TopicPartition, int]
    max_wait_ms: int
    min_bytes: int
    max_bytes: int
    max_partition_bytes: int
    isolation_level: int

    def encode(self) -> bytes:
        """Return the request's body."""
        topics: dict[str, list[bytes]] = {}
        for tp, offset in self.offsets.items():
            one = _FETCH_PARTITION.pack(tp.partition, -1, offset, -1, self.max_partition_bytes)
            topics.setdefault(tp.topic, []).append(one)
        head = _FETCH_HEAD.pack(
            -1,  # no replica
            self.max_wait_ms,
            self.min_bytes,
            self.max_bytes,
            self.isolation_level,
            0,  # no session
            -1,
            len(topics),
        )
        return b"".join([head, *_topics(topics), _FETCH_TAIL])


class ProduceAnswer:
    """Reads the answer to :class:`Produce`: the number of each partition's error, 0 for none."""

    @staticmethod
    def decode(buffer: BytesIO) -> dict[TopicPartition, int]:
        """Return what an answer says; its header has been read."""
        raw, found = buffer.getvalue(), {}
        topics, at = _items(raw, buffer.tell())
        for _ in topics:
            topic, at = _text(raw, at)
            partitions, at = _items(raw, at)
            for _ in partitions:
                partition, error, *_ = _PRODUCED_PARTITION.unpack_from(raw, at)
                found[TopicPartition(topic, partition)] = error
                at += _PRODUCED_PARTITION.size
        return found


@dataclass(frozen=True, slots=True)
class Produce(_Request):
    """Has a leader take a record batch for each partition; all in-sync replicas acknowledge.

    Args:
        batches: them.
        timeout_ms: how long the leader waits for the others.
    """

    API_KEY: ClassVar[int] = 0
    API_VERSION: ClassVar[int] = 7
    RESPONSE_TYPE: ClassVar[Any] = ProduceAnswer

    batches: Mapping[TopicPartition, bytes]
    timeout_ms: int

    def encode(self) -> bytes:
        """Return the request's body."""
        topics: dict[str, list[bytes]] = {}
        for tp, batch in self.batches.items():
            head = _PRODUCE_PARTITION.pack(tp.partition, len(batch))
            topics.setdefault(tp.topic, []).append(head + bytes(batch))
        # No transaction; -1: all acknowledge.
        head = _PRODUCE_HEAD.pack(-1, -1, self.timeout_ms, len(topics))
        return b"".join([head, *_topics(topics)])


def send(client: Any, node: int, request: Fetch | Produce) -> asyncio.Future[Any]:
    """Send a request at once where there is a connection, and return its answer, which is to come.

    aiokafka waits for an answer in a coroutine, with a timeout of asyncio's: for what is to be in
    flight a task too, which takes some turns of the loop.

    Args:
        client: an ``aiokafka.client.AIOKafkaClient``.
        node: the broker's number.
        request: what to send.

    Returns:
        The answer; a :class:`KafkaError` where there is none within the client's time.
    """
    connection = client._conns.get((node, ConnectionGroup.DEFAULT))
    if connection is None or not connection.connected():
        sent: asyncio.Future[Any] = asyncio.ensure_future(client.send(node, request))
        return sent
    loop = asyncio.get_running_loop()
    try:
        connection.send(request).close()
    except KafkaError as error:
        refused: asyncio.Future[Any] = loop.create_future()
        refused.set_exception(error)
        return refused
    answer: asyncio.Future[Any] = connection._requests[-1][-1]
    timer = loop.call_later(connection._request_timeout, _give_up, connection, answer)
    answer.add_done_callback(lambda _: timer.cancel())
    return answer


def _give_up(connection: Any, answer: asyncio.Future[Any]) -> None:
    """End what was not answered, and its connection, so that the next request has a new one."""
    if not answer.done():
        answer.set_exception(RequestTimedOutError())
        connection.close(reason=CloseReason.CONNECTION_TIMEOUT)


def _topics(partitions: Mapping[str, Sequence[bytes]]) -> Iterable[bytes]:
    """Return what is said of each topic's partitions, under its name."""
    for topic, each in partitions.items():
        name = topic.encode()
        yield _SHORT.pack(len(name)) + name + _INT.pack(len(each))
        yield from each
