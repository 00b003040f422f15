"""The floor: decodes every event and publishes a score that costs nothing.

python -m benchmarks.peers.echo --help
"""

from __future__ import annotations

import asyncio

import orjson

from benchmarks.peers.batches import clients, publish, take
from benchmarks.peers.common import Options, encode, now_ms, score_record, time_ms


async def run(options: Options) -> None:
    async with clients(options) as (consumer, producer):
        while True:
            records = await take(consumer)
            received_ms = now_ms()
            outputs = []
            for record in records:
                event = orjson.loads(record.value)
                score = score_record(
                    event, time_ms(event), 0.0, False, False, record.timestamp, received_ms
                )
                outputs.append((record.partition, record.key, encode(score)))
            await publish(producer, options.scores, outputs)
            await consumer.commit()


if __name__ == "__main__":
    asyncio.run(run(Options.parse()))
