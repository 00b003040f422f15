"""Card payments made up for tests, good and bad."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import orjson

START = datetime(2026, 1, 1, tzinfo=UTC)


def payments(n: int, accounts: int = 500, terminals: int = 1_000, seed: int = 0) -> list[dict]:
    """``n`` payments in the order of time, over about ``n / accounts / 2`` days."""
    rng = np.random.default_rng(seed)
    seconds = np.sort(rng.integers(0, max(n * 86_400 // accounts // 2, n), n)).tolist()
    cards = rng.integers(0, accounts, n).tolist()
    places = rng.integers(0, terminals, n).tolist()
    amounts = np.round(rng.lognormal(3.5, 0.8, n), 2).tolist()
    return [
        {
            "transaction_id": f"t{at}",
            "time": (START + timedelta(seconds=seconds[at])).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "card_id": f"card-{cards[at]}",
            "terminal_id": str(places[at]),
            "amount": amounts[at],
        }
        for at in range(n)
    ]


@dataclass(frozen=True)
class Sent:
    """A record as a producer sends it."""

    key: bytes | None
    value: bytes | None


def sent(payment: dict) -> Sent:
    """The record of a good payment."""
    return Sent(payment["card_id"].encode(), orjson.dumps(payment))


def bad_records(payment: dict) -> dict[str, Sent]:
    """Every way a payment can be bad: a name, and the record; the reason is before the slash."""
    key = payment["card_id"].encode()

    def changed(**changes: object) -> Sent:
        return Sent(key, orjson.dumps({**payment, **changes}))

    raw = orjson.dumps(payment)
    without_amount = {name: value for name, value in payment.items() if name != "amount"}
    long_account = "x" * 10_000
    return {
        "tombstone/null": Sent(key, None),
        "tombstone/empty": Sent(key, b""),
        "not_json/text": Sent(key, b"hello"),
        "not_json/cut": Sent(key, raw[:-5]),
        "not_object/array": Sent(key, b"[1, 2]"),
        "not_object/number": Sent(key, b"7"),
        "missing_field/absent": Sent(key, orjson.dumps(without_amount)),
        "missing_field/null": changed(amount=None),
        "wrong_type/text": changed(amount="12.50"),
        "wrong_type/boolean": changed(amount=True),
        "not_finite/nan": Sent(key, raw.replace(b'"amount":', b'"amount":NaN,"was":')),
        "not_finite/infinity": Sent(key, raw.replace(b'"amount":', b'"amount":Infinity,"was":')),
        "not_finite/huge": Sent(key, raw.replace(b'"amount":', b'"amount":1e400,"was":')),
        "not_scored/overflow": changed(amount=3e38),
        "below_minimum/negative": changed(amount=-0.01),
        "not_a_time/word": changed(time="yesterday"),
        "not_a_time/day": changed(time="2026-02-30T00:00:00Z"),
        "before_1970/old": changed(time="1969-12-31T23:59:59Z"),
        "in_the_future/far": changed(time="2099-01-01T00:00:00Z"),
        "too_long/account": Sent(
            long_account.encode(), orjson.dumps({**payment, "card_id": long_account})
        ),
        "empty/account": Sent(b"", orjson.dumps({**payment, "card_id": ""})),
        "not_utf8/note": Sent(key, raw[:-1] + b',"note":"\xff"}'),
        "not_utf8/field": Sent(key, raw.replace(b'"terminal_id":"', b'"terminal_id":"\xff')),
        "wrong_key/other": Sent(b"somebody", raw),
        "wrong_key/none": Sent(None, raw),
        "too_large/note": changed(note="n" * 300_000),
    }
