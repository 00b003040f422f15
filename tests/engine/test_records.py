from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from engine.bundle import Bundle
from engine.columns import Columns, Reason, Reject
from engine.decode import Decoder
from engine.device import Device
from engine.manifest import Thresholds
from engine.records import Encoder, Origin, Record, Times, dead_letter, without_event
from engine.schema import Role
from engine.scored import Contribution, Scored
from engine.scorer import Scorer
from engine.waves import index_accounts
from tests.bundles import LAYOUT, MANIFEST, SCHEMA, tiny_bundle
from tests.engine.tools import NOW_MS, payment

DECODER = Decoder(SCHEMA)
LARGE, SMALL = 50_000.0, 1.0
ORIGIN = Origin("payments", 3, 41, NOW_MS - 5)
REJECT = Reject(0, Reason.WRONG_TYPE, "amount must be a number, however: a text, 'fünf'", "c1")


def times(n: int) -> Times:
    published = np.arange(n, dtype=np.int64) + NOW_MS - 100
    return Times(published=published, received=NOW_MS, scored=NOW_MS + 7)


def scored_of(scorer: Scorer, values: list[bytes]) -> tuple[Columns, Scored]:
    columns = DECODER.decode(values, NOW_MS).columns
    accounts, index = index_accounts(columns.accounts)
    return columns, scorer.score(columns, LAYOUT.zeros(len(accounts)), index)


def scores(scorer: Scorer, values: list[bytes]) -> list[Record]:
    columns, scored = scored_of(scorer, values)
    return Encoder(scorer).scores(columns, scored, times(len(columns)))


def alerts(scorer: Scorer, values: list[bytes]) -> list[Record]:
    columns, scored = scored_of(scorer, values)
    return Encoder(scorer).alerts(columns, scored, times(len(columns)), values)


def bodies(records: list[Record]) -> list[dict[str, Any]]:
    return [orjson.loads(record.value or b"") for record in records]


def test_a_score_says_which_event_which_model_and_when(scorer: Scorer) -> None:
    value = orjson.dumps(payment(card_id="ü", amount=SMALL))
    columns, scored = scored_of(scorer, [value])
    (record,) = Encoder(scorer).scores(columns, scored, times(1))
    body = orjson.loads(record.value or b"")

    assert record.key == "ü".encode()
    assert len(body.pop("score_id")) == 32
    assert body.pop("score") == pytest.approx(scored.scores[0], abs=1e-7)
    assert body == {
        "event_id": "t1",
        "account": "ü",
        "event_time_ms": NOW_MS,
        "decision": "approve",
        "duplicate": False,
        "late": False,
        "model": "tiny",
        "model_version": "1.0.0",
        "bundle": scorer.bundle.digest[:12],
        "published_ms": NOW_MS - 100,
        "received_ms": NOW_MS,
        "scored_ms": NOW_MS + 7,
    }


def test_every_event_has_a_score_record_in_its_order(scorer: Scorer) -> None:
    events = [("t1", "a", LARGE), ("t1", "b", SMALL), ("t1", "a", SMALL), ("t2", "a", SMALL)]
    values = [
        orjson.dumps(payment(transaction_id=event_id, card_id=account, amount=amount))
        for event_id, account, amount in events
    ]
    records = scores(scorer, values)
    found = bodies(records)
    assert [(each["event_id"], each["account"]) for each in found] == [each[:2] for each in events]
    assert [record.key for record in records] == [b"a", b"b", b"a", b"a"]
    assert [each["duplicate"] for each in found] == [False, False, True, False]
    assert found[2]["decision"] == found[0]["decision"] == "decline"
    assert found[2]["score_id"] == found[0]["score_id"], "a repeat has its first answer's id"


def test_ids_say_which_event_and_never_when_or_with_which_model(
    scorer: Scorer, tmp_path: Any
) -> None:
    other = Scorer(Bundle.load(tiny_bundle(tmp_path, version="2")), Device.CPU)
    value = orjson.dumps(payment(amount=LARGE))
    (score,), (again,) = bodies(scores(scorer, [value])), bodies(scores(other, [value]))
    (alert,) = bodies(alerts(scorer, [value]))
    assert score["score_id"] == again["score_id"] != alert["alert_id"]
    assert score["bundle"] != again["bundle"]


def test_an_alert_carries_reasons_amount_and_the_events_own_fields(scorer: Scorer) -> None:
    more = {"device": {"os": ["a", {"b": None}]}, "note": "é", "big": 12345678901234567890123}
    values = [b"[]", orjson.dumps(payment(amount=SMALL)), b"null"]
    text = '{"transaction_id":"t2", "time":"2026-01-31T12:00:00Z","card_id":"c1","terminal_id":9,'
    text += '"amount":4321.1,"device":{"os":["a",{"b":null}]},"note":"é",'
    text += '"big":12345678901234567890123}'
    values.append(text.encode())
    (record,) = alerts(scorer, values)
    assert record.value is not None
    assert text.encode() in record.value, "as it came, to the last digit"
    body = orjson.loads(record.value)

    assert record.key == b"c1"
    assert body["event"].keys() == payment().keys() | more.keys()
    assert body["event"]["device"] == more["device"]
    assert body["amount"] == 4321.1
    assert body["decision"] == "decline"
    assert body["published_ms"] == NOW_MS - 99, "of its place among the good events"
    # The graph's history is at its reference of 0 for x = mean: this amount is far above it.
    assert [each["group"] for each in body["reasons"]] == ["history", "amount"]
    assert body["reasons"][1] == {
        "group": "amount",
        "text": "The amount is large.",
        "log_odds": pytest.approx(0.5 * np.log1p(4321.1), abs=1e-3),
    }


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 400 + ".5"])
def test_an_event_that_parsers_refuse_is_carried_as_text(scorer: Scorer, number: str) -> None:
    value = orjson.dumps(payment(amount=LARGE))[:-1] + f',"other":{number}}}'.encode()
    (body,) = bodies(alerts(scorer, [value]))
    assert "event" not in body
    assert body["event_text"] == value.decode()


def test_an_alert_without_its_event_says_so(scorer: Scorer) -> None:
    (alert,) = alerts(scorer, [orjson.dumps(payment(amount=LARGE))])
    shorter = without_event(alert)
    assert shorter is not None
    (before,), (after,) = bodies([alert]), bodies([shorter])
    assert before.pop("event")["transaction_id"] == "t1"
    assert after.pop("event_too_large") is True
    assert after == before
    assert shorter.key == alert.key
    assert without_event(shorter) is None


def test_an_alert_leaves_out_what_lowered_the_score(bundle: Bundle) -> None:
    strict = Scorer(bundle, Device.CPU, thresholds=Thresholds(0.0, 1.0))
    values = [
        orjson.dumps(payment(transaction_id=each, amount=amount))
        for each, amount in (("t1", 900.0), ("t2", 5.0))
    ]
    found = bodies(alerts(strict, values))
    assert [each["event_id"] for each in found] == ["t1", "t2"]
    assert [each["group"] for each in found[1]["reasons"]] == ["amount"]
    assert all(reason["log_odds"] > 0 for each in found for reason in each["reasons"])


def hand_made(**changes: Any) -> Scored:
    """Two scores, the second an alert whose reasons are given, strongest first."""
    amount, history = MANIFEST.reasons
    reasons = [Contribution(history, 2.00049), Contribution(amount, 0.5), Contribution(amount, 0.0)]
    return Scored(
        **{
            "scores": np.array([0.1, 0.123456789], np.float32),
            "decisions": np.array([0, 1]),
            "duplicate": np.array([False, False]),
            "late": np.array([False, True]),
            "failed": np.array([False, False]),
            "states": LAYOUT.zeros(1),
            "reasons": {1: [*reasons, Contribution(amount, 4e-4), Contribution(amount, -3.0)]},
            "kept": np.zeros((2, 0), np.float32),
        }
        | changes
    )


def test_an_alert_says_what_the_scorer_found(scorer: Scorer) -> None:
    values = [b"no event", orjson.dumps(payment()), orjson.dumps(payment(transaction_id="t2"))]
    columns = DECODER.decode(values, NOW_MS).columns
    (record,) = Encoder(scorer).alerts(columns, hand_made(), times(2), values)
    (body,) = bodies([record])
    assert (body["event_id"], body["event"]["transaction_id"]) == ("t2", "t2")
    assert (body["decision"], body["late"], body["score"]) == ("review", True, 0.1234568)
    assert [(each["group"], each["log_odds"]) for each in body["reasons"]] == [
        ("history", 2.0),
        ("amount", 0.5),
    ]
    late = bodies(Encoder(scorer).scores(columns, hand_made(), times(2)))
    assert [each["late"] for each in late] == [False, True]
    assert [each["published_ms"] for each in late] == [NOW_MS - 100, NOW_MS - 99]


def test_an_alert_of_a_schema_without_an_amount_has_none(tmp_path: Any) -> None:
    plain = replace(
        SCHEMA,
        fields=tuple(
            replace(each, role=Role.FEATURE) if each.role is Role.AMOUNT else each
            for each in SCHEMA.fields
        ),
    )
    other = Scorer(Bundle.load(tiny_bundle(tmp_path, schema=plain)), Device.CPU)
    values = [orjson.dumps(payment()), orjson.dumps(payment(transaction_id="t2"))]
    columns = DECODER.decode(values, NOW_MS).columns
    (body,) = bodies(Encoder(other).alerts(columns, hand_made(), times(2), values))
    assert body["amount"] is None


def test_approved_events_and_repeats_raise_no_alert(scorer: Scorer) -> None:
    assert alerts(scorer, [orjson.dumps(payment(amount=SMALL))]) == []
    assert len(alerts(scorer, [orjson.dumps(payment(amount=LARGE))] * 3)) == 1
    assert alerts(scorer, []) == scores(scorer, []) == []


@pytest.mark.parametrize("value", [None, b"", b"\xff\x00{", b"x" * 100])
@pytest.mark.parametrize("key", [None, b"", b"\xff\x00"])
def test_a_dead_letter_is_the_record_as_it_came(key: bytes | None, value: bytes | None) -> None:
    (record,) = dead_letter(REJECT, key, value, ORIGIN, part_bytes=100)
    assert (record.key, record.value) == (key, value)
    assert dict(record.headers) == {
        "reason": b"wrong_type",
        "detail": REJECT.detail.encode(),
        "topic": b"payments",
        "partition": b"3",
        "offset": b"41",
        "timestamp_ms": str(NOW_MS - 5).encode(),
    }


@pytest.mark.parametrize(("size", "parts"), [(5_000_000, 6), (2_000_000, 2), (1_000_001, 2)])
def test_a_large_dead_letter_comes_in_parts_that_join(size: int, parts: int) -> None:
    value = np.random.default_rng(0).bytes(size)
    records = dead_letter(REJECT, b"c1", value, ORIGIN, part_bytes=900_000 + 100_000 * (parts < 6))
    headers = [dict(record.headers) for record in records]
    assert b"".join(record.value or b"" for record in records) == value
    assert [each["part"] for each in headers] == [str(at + 1).encode() for at in range(parts)]
    assert {each["parts"] for each in headers} == {str(parts).encode()}
    assert {each["offset"] for each in headers} == {b"41"}
    assert {record.key for record in records} == {b"c1"}


def test_a_key_too_large_for_a_record_is_cut() -> None:
    (record,) = dead_letter(REJECT, b"k" * 5_000_000, b"{}", ORIGIN, part_bytes=900_000)
    assert record.key == b"k" * 65_536


def test_a_detail_that_no_bytes_can_hold_does_not_stop_a_dead_letter() -> None:
    value = rb'{"transaction_id": "t1", "time": "soon\ud800"}'
    (reject,) = DECODER.decode([value], NOW_MS).rejects
    (record,) = dead_letter(reject, None, value, ORIGIN, 100)
    assert record.value == value
    assert dict(record.headers)["detail"].startswith(b"time must be an ISO 8601 time")
