"""Events of the tiny bundle's schema, as values, as bytes and as columns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

import orjson
from hypothesis import strategies as st

from engine.columns import Columns
from engine.decode import Decoder
from tests.bundles import SCHEMA

#: 2026-01-31T12:00:00Z, when the tests' events arrive.
NOW_MS = 1_769_860_800_000
DAY_MS = 86_400_000


class Paid(NamedTuple):
    """What the tiny bundle looks at."""

    event_id: str
    account: str
    time_ms: int
    amount: float


#: Few accounts, few ids and times days apart: repeats and late events are common.
STREAMS = st.lists(
    st.builds(
        Paid,
        st.sampled_from([f"t{at}" for at in range(12)]),
        st.sampled_from(["a", "b", "c"]),
        st.integers(-3 * DAY_MS, 0).map(lambda ago_ms: NOW_MS + ago_ms),
        st.floats(0, 1e6, width=32),
    ),
    max_size=40,
)


def payment(**changes: Any) -> dict[str, Any]:
    """A good payment with some fields changed; one that is set to ``...`` is left out."""
    event = {
        "transaction_id": "t1",
        "time": "2026-01-31T12:00:00Z",
        "card_id": "c1",
        "terminal_id": "p1",
        "amount": 25.0,
    } | changes
    return {key: value for key, value in event.items() if value is not ...}


def encoded(events: Sequence[Paid]) -> list[bytes]:
    """The events as a producer sends them."""
    return [
        orjson.dumps(
            payment(
                transaction_id=each.event_id,
                card_id=each.account,
                time=datetime.fromtimestamp(each.time_ms / 1000, UTC).isoformat(),
                amount=each.amount,
            )
        )
        for each in events
    ]


def columns_of(events: Sequence[Paid]) -> Columns:
    """The events as columns."""
    decoded = Decoder(SCHEMA).decode(encoded(events), NOW_MS)
    assert decoded.rejects == []
    return decoded.columns


def pieces(n: int, cuts: Sequence[int]) -> list[slice]:
    """Slices that together cover ``n`` places, cut at some of them."""
    at = [0, *sorted(cut % (n + 1) for cut in cuts), n]
    return [slice(start, stop) for start, stop in pairwise(at)]
