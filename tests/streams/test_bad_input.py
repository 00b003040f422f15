"""What cannot be scored becomes a dead letter, and what stands around it is scored."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from tests.streams.harness import Stream, headers
from tests.streams.synthetic import Sent, bad_records, payments, sent

MakeStream = Callable[..., Stream]


async def test_every_bad_event_is_a_dead_letter_among_scored_ones(
    make_stream: MakeStream, broker: str
) -> None:
    good = payments(200, accounts=10)
    records = []
    bad = bad_records(payments(1, seed=9)[0])
    for event, (_, record) in zip(good, bad.items(), strict=False):
        records += [sent(event), record]
    records += [sent(event) for event in good[len(bad) :]]
    stream = make_stream(broker)
    await stream.produce(records)
    stream.worker()
    outputs = await stream.collect(len(good) + len(bad))
    assert set(outputs.by_event()) == {event["transaction_id"] for event in good}
    found = sorted(headers(record)["reason"] for record in outputs.dead_letters)
    assert found == sorted(name.split("/")[0] for name in bad)
    assert {(each.key, each.value) for each in outputs.dead_letters} >= {
        (bad[name].key, bad[name].value) for name in ("not_json/cut", "not_utf8/note")
    }
    for record in outputs.dead_letters:
        about = headers(record)
        assert about["topic"] == stream.settings.topics.transactions
        assert int(about["offset"]) >= 0
        assert int(about["partition"]) < 4
        assert int(about["timestamp_ms"]) > 0
        assert " must " in about["detail"]


async def test_an_event_of_5_mb_is_kept_in_parts(
    make_stream: MakeStream, apache_kafka: str
) -> None:
    before, after = payments(2, accounts=1)
    huge = Sent(before["card_id"].encode(), orjson.dumps({**before, "note": "n" * 5_000_000}))
    stream = make_stream(apache_kafka)
    await stream.produce([sent(before), huge, sent(after)])
    stream.worker()
    outputs = await stream.collect(3)
    assert len(outputs.by_event()) == 2
    parts = sorted(outputs.dead_letters, key=lambda each: int(headers(each)["part"]))
    assert [headers(each)["parts"] for each in parts] == [str(len(parts))] * len(parts)
    assert b"".join(each.value for each in parts) == huge.value
    assert {headers(each)["reason"] for each in parts} == {"too_large"}


async def test_a_repeated_event_gets_its_first_answer_marked_as_a_duplicate(
    make_stream: MakeStream, embedded_broker: str
) -> None:
    first, second = payments(2, accounts=1)
    stream = make_stream(embedded_broker)
    changed = {**first, "amount": first["amount"] * 10}
    await stream.produce([sent(first), sent(second), sent(changed), sent(first)])
    stream.worker()
    outputs = await stream.collect(4)
    bodies = [orjson.loads(record.value) for record in outputs.scores]
    answers = [body for body in bodies if body["event_id"] == first["transaction_id"]]
    assert [body["duplicate"] for body in answers] == [False, True, True]
    assert len({body["score"] for body in answers}) == 1
    assert len({body["score_id"] for body in answers}) == 1


async def test_an_old_event_is_scored_and_marked_late(
    make_stream: MakeStream, embedded_broker: str
) -> None:
    event, other = payments(2, accounts=1)
    old = {**other, "time": "2025-06-01T00:00:00Z"}
    stream = make_stream(embedded_broker)
    await stream.produce([sent(event), sent(old)])
    stream.worker()
    late = {name: body["late"] for name, body in (await stream.collect(2)).by_event().items()}
    assert late == {event["transaction_id"]: False, other["transaction_id"]: True}


@pytest.mark.parametrize("key", [None, b"somebody else"])
async def test_an_event_with_a_wrong_key_is_published_again_where_so_set(
    make_stream: MakeStream, embedded_broker: str, key: bytes | None
) -> None:
    event = payments(1)[0]
    stream = make_stream(embedded_broker, events__on_wrong_key="rekey")
    await stream.produce([Sent(key, orjson.dumps(event))])
    stream.worker()
    outputs = await stream.collect(1)
    (score,) = outputs.scores
    assert score.key == event["card_id"].encode()
    assert outputs.dead_letters == []


async def test_a_batch_of_bad_events_only_is_answered_too(
    make_stream: MakeStream, embedded_broker: str
) -> None:
    payment = payments(1)[0]
    stream = make_stream(embedded_broker)
    stream.worker()
    await stream.produce([Sent(payment["card_id"].encode(), b"not json")])
    (letter,) = (await stream.collect(1)).dead_letters
    assert headers(letter)["reason"] == "not_json"
    await stream.produce([sent(payment)])
    assert set((await stream.collect(2)).by_event()) == {payment["transaction_id"]}
