"""What tests of state stores share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from streams.store.base import PartitionWrite, Store, WriteKind

OpenStore = Callable[[], Store]
APPLIED, REPEATED, FENCED, BEHIND = (
    WriteKind.APPLIED,
    WriteKind.REPEATED,
    WriteKind.FENCED,
    WriteKind.BEHIND,
)


def put(partition: int, expected: int | None, position: int, **states: bytes) -> PartitionWrite:
    return PartitionWrite(partition, expected, position, states)


async def contents(store: Store, partition: int) -> dict[str, bytes]:
    return {account: state async for account, state in store.states(partition)}


def say(client: redis.Redis, *words: object) -> Any:
    return client.execute_command(*words)  # type: ignore[no-untyped-call]
