"""Card payments made up for measuring, and the scores that they must get."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import orjson
from confluent_kafka import Producer

from engine.bundle import Bundle
from engine.decode import Decoder
from engine.device import Device
from engine.offline import OfflineScorer
from engine.records import Record
from engine.scorer import Scorer

_CHUNK = 20_000


def payments(
    n: int,
    accounts: int,
    *,
    prefix: str = "",
    hot_share: float = 0.0,
    rate: float = 1_000.0,
    begins_s: float | None = None,
    seed: int = 0,
) -> list[Record]:
    """Make up ``n`` card payments, the accounts drawn evenly.

    Args:
        n: how many.
        accounts: how many cards there are.
        prefix: of the events' ids.
        hot_share: how much of the traffic is one account's, ``hot``.
        rate: how many happen in a second.
        begins_s: when the first happens, in seconds since 1970; if not given, so that the last
            has just happened.
        seed: of every choice.
    """
    begins_s = time.time() - n / rate if begins_s is None else begins_s
    rng = np.random.default_rng(seed)
    cards = [str(each) for each in rng.integers(0, accounts, n).tolist()]
    hot = (rng.random(n) < hot_share).tolist()
    places = rng.integers(0, 2 * accounts, n).tolist()
    amounts = np.round(rng.lognormal(3.5, 0.8, n), 2).tolist()
    offsets = (np.arange(n) / rate * 1e6).astype("timedelta64[us]")
    times = (np.datetime64(round(begins_s * 1e6), "us") + offsets).tolist()
    records = []
    for at, (card, place, amount, moment) in enumerate(
        zip(cards, places, amounts, times, strict=True)
    ):
        account = "hot" if hot[at] else card
        event = {
            "transaction_id": f"{prefix}{at}",
            "time": moment.isoformat() + "Z",
            "card_id": account,
            "terminal_id": str(place),
            "amount": amount,
        }
        records.append(Record(account.encode(), orjson.dumps(event)))
    return records


def publish(bootstrap: str, topic: str, records: Iterable[Record]) -> None:
    """Publish records, each in its key's partition, and return once all are acknowledged."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "log_level": 0,
            "partitioner": "murmur2_random",
            # Tried again, a request would come after those behind it: other orders, other scores.
            "enable.idempotence": True,
            "linger.ms": 20,
            "queue.buffering.max.messages": 2_000_000,
        }
    )
    for record in records:
        producer.produce(topic, key=record.key, value=record.value)
    if producer.flush(120):
        raise TimeoutError(f"the broker did not take all records of {topic}")


def expected(bundle: Path, records: Sequence[Record]) -> dict[str, float]:
    """Return the score of each event by its id, as the core gives it."""
    loaded = Bundle.load(bundle)
    core = OfflineScorer(Decoder(loaded.manifest.schema), Scorer(loaded, Device.CPU))
    scores: dict[str, float] = {}
    for start in range(0, len(records), _CHUNK):
        values = [each.value for each in records[start : start + _CHUNK]]
        batch = core.score(values, 2**60)
        scores |= zip(batch.columns.event_ids, batch.scored.scores.tolist(), strict=True)
    return scores
