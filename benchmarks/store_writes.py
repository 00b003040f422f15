"""What a state's write takes of the state store's server: in a transaction, and by the script.

    python -m benchmarks.store_writes

The embedded Valkey, states of 1,028 bytes that expire, four partitions, batches of several sizes;
CPU of the server for each state, each way in turn, medians of three.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.machine import cpu_s
from streams.embedded.valkey import EmbeddedValkey
from streams.store.base import PartitionWrite, WriteOutcome
from streams.store.redis.store import RedisStore

_BATCHES = (4, 64, 256, 1_024, 4_096)
_STATES, _REPETITIONS = 100_000, 3
_PARTITIONS, _ACCOUNTS, _STATE_BYTES = 4, 2_500, 1_028
_EXPIRE_S = 180 * 86_400

Write = Callable[[Sequence[PartitionWrite]], Awaitable[list[WriteOutcome]]]


async def _write(write: Write, batch: int, batches: int, start: int) -> None:
    """Write so many batches, each of other accounts; positions go on from a start."""
    state = os.urandom(_STATE_BYTES)
    accounts = [[f"{at:016d}" for at in range(_ACCOUNTS)] for _ in range(_PARTITIONS)]
    for position in range(start, start + batches):
        writes = [
            PartitionWrite(
                partition,
                position or None,
                position + 1,
                dict.fromkeys(random.sample(mine, batch // _PARTITIONS), state),
            )
            for partition, mine in enumerate(accounts)
        ]
        outcomes = await write(writes)
        assert all(each.done for each in outcomes)


async def _measure(server: EmbeddedValkey, batch: int, *, by_script: bool) -> float:
    """Return the server's CPU for a state, in µs."""
    namespace = f"{batch}-{by_script}-{random.random()}"
    store = RedisStore(server.url, namespace=namespace, expire_s=_EXPIRE_S)
    write = store.write_by_script if by_script else store.write
    warm, batches = 20, max(_STATES // batch, 50)
    await _write(write, batch, warm, 0)
    assert server.pid is not None
    before_s = cpu_s(server.pid)
    await _write(write, batch, batches, warm)
    taken_s = cpu_s(server.pid) - before_s
    await store.close()
    return taken_s / (batches * batch) * 1e6


def main() -> None:
    print(
        "| states in a batch | transaction, µs a state | script, µs a state |\n| --- | --- | --- |"
    )
    with tempfile.TemporaryDirectory() as folder, EmbeddedValkey(Path(folder)) as server:
        for batch in _BATCHES:
            found: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(_REPETITIONS):
                for by_script, each in found.items():
                    each.append(asyncio.run(_measure(server, batch, by_script=by_script)))
            print(f"| {batch:,} | {median(found[False]):.1f} | {median(found[True]):.1f} |")


if __name__ == "__main__":
    main()
