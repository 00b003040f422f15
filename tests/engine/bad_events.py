"""Every way a payment can be bad: what is sent, the reason, and a pattern of the detail."""

from __future__ import annotations

import orjson

from engine.columns import Reason
from tests.engine.tools import payment

GOOD = orjson.dumps(payment())


def raw(field: str, value: str) -> bytes:
    """A payment in which a field's value is written as given, which may be no JSON at all."""
    return orjson.dumps(payment(**{field: "HERE"})).replace(b'"HERE"', value.encode())


BAD: dict[str, tuple[bytes | None, Reason, str]] = {
    "tombstone": (None, Reason.TOMBSTONE, "must have a value, however: a tombstone"),
    "no bytes": (b"", Reason.TOMBSTONE, "must have a value, however: 0 bytes"),
    "5 MB": (
        orjson.dumps(payment(note="x" * 5_000_000)),
        Reason.TOO_LARGE,
        "at most 262,144 bytes, however: 5,000,1",
    ),
    "latin-1 in a field": (
        orjson.dumps(payment(card_id="é")).replace("é".encode(), b"\xe9"),
        Reason.NOT_UTF8,
        "must be UTF-8, however: .*0xe9",
    ),
    "latin-1 elsewhere": (
        orjson.dumps(payment(note="é")).replace("é".encode(), b"\xe9"),
        Reason.NOT_UTF8,
        "must be UTF-8, however: .*0xe9",
    ),
    "a text": (b"hello", Reason.NOT_JSON, "must be JSON, however: Expecting value"),
    "cut short": (GOOD[:-4], Reason.NOT_JSON, "must be JSON, however: "),
    "two events": (GOOD + GOOD, Reason.NOT_JSON, "must be JSON, however: Extra data"),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, Reason.NOT_JSON, "must be JSON.*BOM"),
    "deeply nested": (b"[" * 100_000, Reason.NOT_JSON, "must be JSON, however: .*recursion"),
    "deeply nested elsewhere": (
        raw("note", "[" * 50_000 + "]" * 50_000),
        Reason.NOT_JSON,
        "must be JSON, however: .*recursion",
    ),
    "a lone surrogate": (raw("card_id", r'"\ud800"'), Reason.NOT_JSON, "must be JSON, however: "),
    "a lone surrogate in a time": (
        raw("time", r'"soon\udfff"'),
        Reason.NOT_A_TIME,
        "time must be an ISO 8601 time such as .*'soon",
    ),
    "a lone surrogate elsewhere": (
        raw("note", r'"\udc00"'),
        Reason.NOT_JSON,
        "must be JSON, however: .*surrogate",
    ),
    "NaN elsewhere": (raw("note", "NaN"), Reason.NOT_JSON, "must be JSON, however: "),
    "an array": (b"[1]", Reason.NOT_OBJECT, "must be a JSON object, however: an array"),
    "null": (b"null", Reason.NOT_OBJECT, "must be a JSON object, however: null"),
    "a number alone": (b"5", Reason.NOT_OBJECT, "must be a JSON object, however: an integer, 5"),
    "missing": (
        orjson.dumps(payment(amount=...)),
        Reason.MISSING_FIELD,
        "amount must have a value, however: it is missing",
    ),
    "a null": (
        orjson.dumps(payment(amount=None)),
        Reason.MISSING_FIELD,
        "amount must have a value, however: it is null",
    ),
    "a number as text": (
        orjson.dumps(payment(amount="5")),
        Reason.WRONG_TYPE,
        "amount must be a number, however: a text, '5'",
    ),
    "a boolean as number": (
        orjson.dumps(payment(amount=True)),
        Reason.WRONG_TYPE,
        "amount must be a number, however: a boolean, True",
    ),
    "a boolean as identifier": (
        orjson.dumps(payment(card_id=False)),
        Reason.WRONG_TYPE,
        "card_id must be a text or an integer, however: a boolean, False",
    ),
    "a float as identifier": (
        orjson.dumps(payment(card_id=1.0)),
        Reason.WRONG_TYPE,
        "card_id must be a text or an integer, however: a number, 1.0",
    ),
    "an object as identifier": (
        orjson.dumps(payment(card_id={"id": "c1"})),
        Reason.WRONG_TYPE,
        "card_id must be a text or an integer, however: an object",
    ),
    "NaN": (raw("amount", "NaN"), Reason.NOT_FINITE, "amount must be a finite number.*nan"),
    "Infinity": (raw("amount", "-Infinity"), Reason.NOT_FINITE, "finite number, however: .*-inf"),
    "1e400": (raw("amount", "1e400"), Reason.NOT_FINITE, "finite number, however: .*inf"),
    "too large for float32": (raw("amount", "4e38"), Reason.NOT_FINITE, "finite.*however: 4e.38"),
    "a huge integer as number": (
        raw("amount", "9" * 400),
        Reason.NOT_FINITE,
        "finite number, however: an integer, 999999.*…",
    ),
    "digits beyond Python's limit": (raw("card_id", "9" * 5_000), Reason.NOT_JSON, "4300 digits"),
    "negative": (raw("amount", "-0.01"), Reason.BELOW_MINIMUM, "at least 0, however: -0.01"),
    "negative without a limit": (raw("amount", "-1e39"), Reason.NOT_FINITE, "finite number"),
    "empty": (raw("card_id", '""'), Reason.EMPTY, "card_id must not be empty, however: ''"),
    "10,000 characters": (
        raw("card_id", f'"{"x" * 10_000}"'),
        Reason.TOO_LONG,
        "card_id must have at most 256 characters, however: 10,000 .'xxxx",
    ),
    "257 digits": (raw("card_id", "7" * 257), Reason.TOO_LONG, "at most 256.*however: 257"),
    "no time": (raw("time", '"soon"'), Reason.NOT_A_TIME, "time must be an ISO 8601.*'soon'"),
    "a date": (raw("time", '"2026-01-31"'), Reason.NOT_A_TIME, "however: a text, '2026-01-31'"),
    "February 30": (raw("time", '"2026-02-30T00:00:00Z"'), Reason.NOT_A_TIME, "ISO 8601"),
    "a number as ISO time": (
        raw("time", "1769860800"),
        Reason.WRONG_TYPE,
        "time must be an ISO 8601 time in a text, however: an integer, 1769860800",
    ),
    "before 1970": (
        raw("time", '"1969-12-31T23:59:59Z"'),
        Reason.BEFORE_1970,
        r"time must not be before 1970, however: 1969-12-31T23:59:59\+00:00",
    ),
    "the year 1, ahead of UTC": (
        raw("time", '"0001-01-01T00:00:00+14:00"'),
        Reason.BEFORE_1970,
        "must not be before 1970, however: ",
    ),
    "beyond the skew": (
        raw("time", '"2026-01-31T12:05:00.001Z"'),
        Reason.IN_THE_FUTURE,
        r"at most 300 s ahead of its arrival, however: 2026-01-31T12:05:00.001000\+00:00 is 300 s",
    ),
}
