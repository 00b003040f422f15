"""Every event of a large stream has exactly one answer: a score, a mark, or a dead letter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import orjson
import pytest

from tests.streams.harness import Stream, headers
from tests.streams.synthetic import Sent, bad_records, payments, sent

BAD_EVERY = 500


@pytest.mark.parametrize("number", [50_000, pytest.param(200_000, marks=pytest.mark.slow)])
async def test_events_of_which_every_500th_is_bad_are_all_accounted_for(
    make_stream: Callable[..., Stream], apache_kafka: str, number: int
) -> None:
    events = payments(number, accounts=5_000, terminals=10_000)
    records: list[Sent] = []
    expected: Counter[str] = Counter()
    for at, event in enumerate(events):
        if at % BAD_EVERY != BAD_EVERY - 1:
            records.append(sent(event))
            expected["score"] += 1
            continue
        bad = bad_records(event)
        ways = [*bad, "duplicate"]
        way = ways[at // BAD_EVERY % len(ways)]
        if way == "duplicate":
            before = events[at - 1]
            records.append(Sent(before["card_id"].encode(), orjson.dumps(before)))
        else:
            records.append(bad[way])
        expected[way.split("/")[0]] += 1
    stream = make_stream(apache_kafka)
    stream.worker()
    await stream.produce(records)
    outputs = await stream.collect(len(records), deadline_s=120)
    found = Counter(headers(record)["reason"] for record in outputs.dead_letters)
    for record in outputs.scores:
        found["duplicate" if b'"duplicate":true' in record.value else "score"] += 1
    assert found == expected
    good = {event["transaction_id"] for at, event in enumerate(events) if (at + 1) % BAD_EVERY}
    assert outputs.by_event().keys() == good
