"""The best that a good engineer writes by hand in a day: batches, MGET, waves, MSET.

It has no fencing and no positions beside the states: a crash between MSET and the commit counts
events twice, and a worker that lost its partitions may overwrite the states of the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from aiokafka import ConsumerRecord
from numpy.typing import NDArray
from redis.asyncio import Redis

from benchmarks.peers.batches import Output, clients, publish, take
from benchmarks.peers.common import (
    Arrays,
    Model,
    Options,
    columns,
    encode,
    now_ms,
    score_record,
)


async def run(options: Options) -> None:
    model = Model(options.bundle)
    redis = Redis.from_url(options.state_url)
    async with clients(options) as (consumer, producer):
        while True:
            records = await take(consumer)
            if not records:
                continue
            received_ms = now_ms()
            events = [orjson.loads(record.value) for record in records]
            places: dict[str, int] = {}
            index = [places.setdefault(each["card_id"], len(places)) for each in events]
            keys = [f"{options.group}:{account}" for account in places]
            states = model.split(await redis.mget(keys))
            inputs = columns(events)
            found = score(model, inputs, states, index)
            found["event_time"] = inputs["event_time"]
            outputs = _outputs(records, events, found, received_ms)
            await publish(producer, options.scores, outputs)
            await redis.mset(dict(zip(keys, model.join(states), strict=True)))
            await consumer.commit()


def score(model: Model, inputs: Arrays, states: Arrays, index: Sequence[int]) -> Arrays:
    """Score events in waves that hold each account once, and bring the states up to date."""
    n = len(index)
    found: Arrays = {
        "score": np.empty(n, dtype=np.float32),
        "duplicate": np.empty(n, dtype=np.bool_),
        "late": np.empty(n, dtype=np.bool_),
    }
    for wave in waves(index):
        accounts = np.array(index)[wave]
        feeds = {name: column[wave] for name, column in inputs.items()}
        result, new = model.run(feeds, {name: each[accounts] for name, each in states.items()})
        for name, column in found.items():
            column[wave] = result[name]
        for name, each in new.items():
            states[name][accounts] = each
    return found


def waves(index: Sequence[int]) -> list[NDArray[np.int64]]:
    """Return the places of each account's first event, then of each second one, and so on."""
    seen: dict[int, int] = {}
    rounds: list[list[int]] = []
    for place, account in enumerate(index):
        at = seen.get(account, 0)
        seen[account] = at + 1
        if at == len(rounds):
            rounds.append([])
        rounds[at].append(place)
    return [np.array(each, dtype=np.int64) for each in rounds]


def _outputs(
    records: Sequence[ConsumerRecord],
    events: Sequence[dict[str, Any]],
    found: Arrays,
    received_ms: int,
) -> list[Output]:
    rows = zip(
        records,
        events,
        found["event_time"].tolist(),
        found["score"].tolist(),
        found["duplicate"].tolist(),
        found["late"].tolist(),
        strict=True,
    )
    return [
        (
            record.partition,
            record.key,
            encode(score_record(event, *answer, record.timestamp, received_ms)),
        )
        for record, event, *answer in rows
    ]


if __name__ == "__main__":
    asyncio.run(run(Options.parse()))
