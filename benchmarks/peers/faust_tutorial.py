"""Faust as its tutorial does it: a record, an agent, a send for each event; state in Redis."""

from __future__ import annotations

import sys

import faust
from redis.asyncio import Redis

from benchmarks.peers.common import Model, Options, columns, now_ms, score_record

OPTIONS = Options.parse()

app = faust.App(
    OPTIONS.group,
    broker=f"kafka://{OPTIONS.bootstrap}",
    store="memory://",
    consumer_auto_offset_reset="earliest",
    producer_acks=-1,
    topic_allow_declare=False,
    topic_disable_leader=True,
    web_enabled=False,
)


class Payment(faust.Record, serializer="json"):
    """An event."""

    transaction_id: str
    time: str
    card_id: str
    terminal_id: str
    amount: float


payments = app.topic(OPTIONS.source, value_type=Payment)
scores = app.topic(OPTIONS.scores, value_serializer="json")
model = Model(OPTIONS.bundle)
redis = Redis.from_url(OPTIONS.state_url)


@app.agent(payments)
async def score(stream: faust.StreamT[Payment]) -> None:
    async for event in stream.events():
        payment = event.value.asdict()
        key = f"{OPTIONS.group}:{payment['card_id']}"
        stored = await redis.hgetall(key)
        state = model.split([stored.get(b"state")])
        inputs = columns([payment])
        found, new = model.run(inputs, state)
        await redis.hset(key, mapping={"state": model.join(new)[0]})
        answer = score_record(
            payment,
            inputs["event_time"].item(),
            found["score"].item(),
            found["duplicate"].item(),
            found["late"].item(),
            int(event.message.timestamp * 1000),
            now_ms(),
        )
        await scores.send(key=payment["card_id"], value=answer)


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "worker", "--loglevel", "warn"]
    app.main()
