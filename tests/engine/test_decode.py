from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest

from engine.columns import Columns, Decoded, Reason, Reject
from engine.decode import Decoder, Limits
from engine.hashing import hash_strings
from engine.schema import Field, FieldType, Role, Schema, TimeFormat
from tests.bundles import SCHEMA
from tests.engine.bad_events import BAD, GOOD, raw
from tests.engine.tools import NOW_MS, payment

DECODER = Decoder(SCHEMA)
#: Some events nest, and leave out what has a default.
NESTED = Decoder(
    Schema(
        (
            *SCHEMA.with_paths({"account": "card.id"}).streamed,
            Field("country", "card.from.country", FieldType.CATEGORY, required=False),
            Field("age", "card.age", FieldType.NUMBER, required=False, default=-1.0),
            Field(
                "kind", "kind", FieldType.IDENTIFIER, Role.ENTITY, required=False, default="none"
            ),
            Field("mcc", "merchant.mcc", FieldType.NUMBER, required=False, default=7.0),
        )
    )
)


def timed(**changes: Any) -> Decoder:
    """A decoder of events whose time is declared otherwise."""
    time = Field("event_time", "time", FieldType.TIMESTAMP, Role.EVENT_TIME, **changes)
    others = (each for each in SCHEMA.fields if each.role is not Role.EVENT_TIME)
    return Decoder(Schema((time, *others)))


def only_reject(value: bytes | None, decoder: Decoder = DECODER, **more: Any) -> Reject:
    """The reject of an event that stands among good ones, which it does not disturb."""
    decoded = decoder.decode([GOOD, value, GOOD], NOW_MS, **more)
    assert decoded.columns.rows.tolist() == [0, 2]
    (reject,) = decoded.rejects
    assert reject.row == 1
    return reject


def columns_of(decoded: Decoded) -> Columns:
    assert decoded.rejects == []
    return decoded.columns


@pytest.mark.parametrize(("value", "reason", "detail"), BAD.values(), ids=BAD)
def test_a_bad_event_is_refused_with_the_rule_and_what_was_found(
    value: bytes | None, reason: Reason, detail: str
) -> None:
    reject = only_reject(value)
    assert reject.reason is reason
    assert re.search(detail, reject.detail)
    assert len(reject.detail) < 250


def test_each_reason_is_among_the_bad_events() -> None:
    assert {reason for _, reason, _ in BAD.values()} == set(Reason) - {
        Reason.WRONG_KEY,  # needs keys
        Reason.NOT_SCORED,  # needs a model
        *(Reason.UNKNOWN_EVENT, Reason.BEFORE_EVENT, Reason.OUTDATED),  # of labels
    }


def test_a_batch_keeps_its_good_events_and_their_order() -> None:
    values: list[bytes | None] = []
    for at, (value, _, _) in enumerate(BAD.values()):
        values += [orjson.dumps(payment(transaction_id=f"t{at}")), value]
    decoded = DECODER.decode(values, NOW_MS)
    assert decoded.columns.event_ids == [f"t{at}" for at in range(len(BAD))]
    assert decoded.columns.rows.tolist() == list(range(0, len(values), 2))
    assert [each.row for each in decoded.rejects] == list(range(1, len(values), 2))
    assert [each.reason for each in decoded.rejects] == [each[1] for each in BAD.values()]


def test_of_several_faults_the_first_field_is_named() -> None:
    two = orjson.dumps(payment(amount=-1, card_id=""))
    assert only_reject(two).detail.startswith("card_id")
    two = orjson.dumps(payment(amount="x", card_id=None))
    assert only_reject(two).detail.startswith("card_id")


@pytest.mark.parametrize(
    ("value", "account"),
    [(raw("amount", "-1"), "c1"), (raw("amount", "null"), "c1"), (b"{}", None), (b"[]", None)],
)
def test_a_reject_names_the_account_where_it_could_be_read(
    value: bytes, account: str | None
) -> None:
    assert only_reject(value).account == account


def test_a_batch_of_no_good_events_has_empty_columns() -> None:
    for values in ([], [None, b"x"]):
        columns = DECODER.decode(values, NOW_MS).columns
        assert len(columns) == 0
        full = DECODER.decode([GOOD], NOW_MS).columns
        assert {name: each.dtype for name, each in columns.values.items()} == {
            name: each.dtype for name, each in full.values.items()
        }


def test_columns_hold_the_graphs_inputs() -> None:
    values = [orjson.dumps(payment(amount=0.1)), orjson.dumps(payment(card_id="ü😀", amount=3))]
    columns = columns_of(DECODER.decode(values, NOW_MS))
    assert columns.accounts == ["c1", "ü😀"]
    assert columns.values["account"].tolist() == hash_strings(["c1", "ü😀"]).tolist()
    assert columns.values["amount"].tolist() == [np.float32(0.1), 3.0]
    assert columns.values["event_time"].tolist() == columns.event_time_ms.tolist() == [NOW_MS] * 2
    assert list(columns.values) == ["event_id", "event_time", "account", "terminal", "amount"]


@pytest.mark.parametrize(
    ("written", "text"),
    [("17", "17"), ("-0", "0"), ('"017"', "017"), ("1" * 200, "1" * 200), (r'"\u0000"', "\x00")],
)
def test_an_integer_is_an_identifier_as_its_digits(written: str, text: str) -> None:
    columns = columns_of(DECODER.decode([raw("card_id", written)], NOW_MS))
    assert columns.accounts == [text]
    assert columns.values["account"].tolist() == hash_strings([text]).tolist()


@pytest.mark.parametrize(
    "written",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00.000",
        "2026-01-31T14:00:00+02:00",
        "2026-01-31T06:30:00.000000-05:30",
    ],
)
def test_times_are_read_with_their_offset_and_as_utc_without(written: str) -> None:
    columns = columns_of(DECODER.decode([raw("time", f'"{written}"')], NOW_MS))
    assert columns.event_time_ms.tolist() == [NOW_MS]


@pytest.mark.parametrize(
    ("written", "expected_ms"),
    [
        ("2026-01-31T12:00:00.000499Z", NOW_MS),
        ("2026-01-31T12:00:00.000500Z", NOW_MS),
        ("2026-01-31T12:00:00.000501Z", NOW_MS + 1),
        ("2026-01-31T12:00:00.001500Z", NOW_MS + 2),
        ("2026-01-31T11:59:59.999500Z", NOW_MS),
        ("1970-01-01T00:00:00.000001Z", 0),
    ],
)
def test_times_are_rounded_to_the_nearest_millisecond(written: str, expected_ms: int) -> None:
    # Few are converted one by one, and many as columns.
    for n in (1, 300):
        columns = columns_of(DECODER.decode([raw("time", f'"{written}"')] * n, NOW_MS))
        assert columns.event_time_ms.tolist() == [expected_ms] * n


@pytest.mark.parametrize(
    ("format_", "written", "expected_ms"),
    [
        ("epoch_s", "1769860800", NOW_MS),
        ("epoch_s", "1769860799.25", NOW_MS - 750),
        ("epoch_ms", "1769860800000", NOW_MS),
        ("epoch_ms", "1769860800000.4", NOW_MS),
        ("epoch_ms", "1.7698608e12", NOW_MS),
        ("epoch_s", "0", 0),
    ],
)
def test_epochs_are_seconds_or_milliseconds(format_: str, written: str, expected_ms: int) -> None:
    decoded = timed(format=TimeFormat(format_)).decode([raw("time", written)], NOW_MS)
    assert columns_of(decoded).event_time_ms.tolist() == [expected_ms]


@pytest.mark.parametrize(
    ("written", "reason", "detail"),
    [
        ('"2026-01-31T12:00:00Z"', Reason.WRONG_TYPE, "number of seconds since 1970.*a text"),
        ("true", Reason.WRONG_TYPE, "number of seconds since 1970, however: a boolean"),
        ("1e400", Reason.NOT_A_TIME, "must be a time, however: a number, inf"),
        ("1e300", Reason.NOT_A_TIME, "1970 to the year 9999, however: one far outside"),
        ("1769860800000", Reason.NOT_A_TIME, "1970 to the year 9999, however: "),
        ("-1", Reason.BEFORE_1970, "not be before 1970, however: 1969-12-31T23:59:59"),
        ("1769864401", Reason.IN_THE_FUTURE, "at most 300 s .* is 3,601 s ahead"),
    ],
)
def test_an_impossible_epoch_is_refused(written: str, reason: Reason, detail: str) -> None:
    decoded = timed(format=TimeFormat.EPOCH_S).decode([raw("time", written)], NOW_MS)
    (reject,) = decoded.rejects
    assert reject.reason is reason
    assert re.search(detail, reject.detail)


def test_the_limits_themselves_are_allowed() -> None:
    latest = datetime.fromtimestamp(NOW_MS / 1000 + 300, UTC).isoformat()
    earliest = "1970-01-01T00:00:00Z"
    values = [orjson.dumps(payment(time=time, amount=0)) for time in (earliest, latest)]
    values.append(raw("card_id", f'"{"x" * 256}"'))
    limits = Limits(max_bytes=max(map(len, values)))
    assert len(columns_of(Decoder(SCHEMA, limits).decode(values, NOW_MS))) == 3
    smaller = Decoder(SCHEMA, Limits(max_bytes=limits.max_bytes - 1)).decode(values, NOW_MS)
    assert [each.reason for each in smaller.rejects] == [Reason.TOO_LARGE]


@pytest.mark.parametrize(
    ("card", "more", "expected"),
    [
        ({"id": "c1", "age": 3, "from": {"country": "AT"}}, {"kind": 5}, ("AT", 3.0, "5", 7.0)),
        ({"id": "c1"}, {}, ("", -1.0, "none", 7.0)),
        ({"id": "c1", "age": None, "from": None}, {"kind": None}, ("", -1.0, "none", 7.0)),
        ({"id": "c1", "from": {"country": None}}, {"merchant": None}, ("", -1.0, "none", 7.0)),
        ({"id": "c1", "from": {}}, {"merchant": {"mcc": 0}}, ("", -1.0, "none", 0.0)),
        ({"id": "c1", "from": {"country": True}}, {}, ("true", -1.0, "none", 7.0)),
        ({"id": "c1", "from": {"country": 4.5}}, {}, ("4.5", -1.0, "none", 7.0)),
        ({"id": "c1", "from": {"country": 40}}, {}, ("40", -1.0, "none", 7.0)),
    ],
)
def test_what_is_optional_has_its_default_at_any_depth(
    card: dict[str, Any], more: dict[str, Any], expected: tuple[str, float, str, float]
) -> None:
    event = orjson.dumps(payment(card_id=..., card=card, **more))
    columns = columns_of(NESTED.decode([event], NOW_MS))
    country, age, kind, mcc = expected
    assert columns.accounts == ["c1"]
    assert columns.values["country"].tolist() == hash_strings([country]).tolist()
    assert columns.values["kind"].tolist() == hash_strings([kind]).tolist()
    assert (columns.values["age"].item(), columns.values["mcc"].item()) == (age, mcc)


@pytest.mark.parametrize(
    ("card", "reason", "detail"),
    [
        (..., Reason.MISSING_FIELD, "card.id must have a value, however: it is missing"),
        (None, Reason.MISSING_FIELD, "card.id must have a value, however: it is missing"),
        ({"id": None}, Reason.MISSING_FIELD, "card.id must have a value, however: it is null"),
        ("c1", Reason.WRONG_TYPE, "card must be an object, however: a text, 'c1'"),
        ({"id": "c1", "from": 5}, Reason.WRONG_TYPE, "card.from must be an object, however: an "),
        ({"id": "c1", "from": {"country": []}}, Reason.WRONG_TYPE, "card.from.country must be a "),
    ],
)
def test_a_nested_fault_is_named_by_its_path(card: Any, reason: Reason, detail: str) -> None:
    decoded = NESTED.decode([orjson.dumps(payment(card_id=..., card=card))], NOW_MS)
    (reject,) = decoded.rejects
    assert reject.reason is reason
    assert reject.detail.startswith(detail)


def test_an_optional_times_default_is_read_like_a_time() -> None:
    decoder = timed(required=False, default="2026-01-31T13:00:00+01:00")
    columns = columns_of(decoder.decode([orjson.dumps(payment(time=...))], NOW_MS))
    assert columns.event_time_ms.tolist() == [NOW_MS]


@pytest.mark.parametrize(
    ("key", "found"), [(None, "none"), (b"c2", "'c2'"), (b"\xff", "'\ufffd'"), (b"", "''")]
)
def test_a_key_that_is_not_the_account_is_refused(key: bytes | None, found: str) -> None:
    reject = only_reject(GOOD, keys=[b"c1", key, b"c1"])
    assert (reject.reason, reject.account) == (Reason.WRONG_KEY, "c1")
    assert reject.detail == f"a record's key must be its account 'c1', however: {found}"


def test_a_bad_event_is_refused_for_what_is_wrong_with_it_whatever_its_key() -> None:
    assert only_reject(raw("amount", "-1"), keys=[b"c1", b"c2", b"c1"]).reason == "below_minimum"
