from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from engine.columns import Reason
from engine.labels import Found, LabelReader
from tests.bundles import SCHEMA, SHARED, TERMINAL
from tests.engine.tools import NOW_MS, Paid, columns_of

DAY_MS = 86_400_000
EVENTS = [Paid("t1", "a", NOW_MS - 5 * DAY_MS, 10.0), Paid("t2", "b", NOW_MS - DAY_MS, 2_000.0)]


def reader() -> LabelReader:
    return LabelReader(SCHEMA, SHARED, max_bytes=1_000, max_future_ms=300_000)


def entries() -> dict[int, bytes | None]:
    columns = columns_of(EVENTS)
    return dict(zip(columns.values["event_id"].tolist(), reader().entries_of(columns), strict=True))


def label(event_id: Any, fraud: Any = True, days_ago: float = 0.0, **changes: Any) -> bytes:
    known_at = str(np.datetime64(NOW_MS - round(days_ago * DAY_MS), "ms"))
    body = {"event_id": event_id, "fraud": fraud, "known_at": known_at} | changes
    return orjson.dumps({key: value for key, value in body.items() if value is not ...})


def find(*values: bytes | None, kept: dict[int, bytes | None] | None = None) -> Found:
    decoded = reader().decode(values, [NOW_MS] * len(values), NOW_MS)
    known = entries() if kept is None else kept
    return reader().find(decoded, {event: known.get(event) for event in decoded.events.tolist()})


def test_a_label_brings_what_its_event_was() -> None:
    found = find(label("t2"), label("t1", fraud=False, days_ago=1))
    assert (found.rejects, found.repeated, found.rows.tolist()) == ([], 0, [0, 1])
    columns = columns_of(EVENTS)
    assert found.labels.known.tolist() == [1, 1]
    assert found.labels.positive.tolist() == [1, 0]
    assert found.labels.amount.tolist() == [2_000, 10]
    assert found.labels.known_ms.tolist() == [NOW_MS, NOW_MS - DAY_MS]
    for name in ("account", "terminal"):
        assert found.labels.entities[name].tolist() == columns.values[name][::-1].tolist()


def test_without_known_at_a_label_is_known_when_it_was_published() -> None:
    value = label("t1", known_at=..., source="desk 4", kind="chargeback")
    decoded = reader().decode([value], [NOW_MS - 7], NOW_MS)
    assert decoded.known_ms.tolist() == [NOW_MS - 7]


@pytest.mark.parametrize(
    ("first", "second", "known", "positive"),
    [
        (True, True, [1], [1]),
        (False, False, [1], [0]),
        (True, False, [1, 0], [1, -1]),
        (False, True, [1, 0], [0, 1]),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_a_second_label_replaces_the_first(
    first: bool, second: bool, known: list[int], positive: list[int], together: bool
) -> None:
    values = [label("t1", first, days_ago=2), label("t1", second, days_ago=1)]
    if together:
        parts = [find(*values)]
    else:
        kept = entries()
        parts = [find(values[0], kept=kept)]
        parts.append(find(values[1], kept=kept | parts[0].changed))
    assert [each for part in parts for each in part.labels.known.tolist()] == known
    assert [each for part in parts for each in part.labels.positive.tolist()] == positive
    assert sum(part.repeated for part in parts) == 2 - len(known)
    kept = entries()
    for part in parts:
        kept |= part.changed
    again = find(*values, kept=kept)
    assert len(again.labels) == 0
    assert len(again.rejects) == (0 if first == second else 1)


def test_a_label_is_applied_once_however_often_it_is_read() -> None:
    first = find(label("t1"))
    again = find(label("t1"), kept=entries() | first.changed)
    assert (len(again.labels), again.repeated, again.changed, again.rejects) == (0, 1, {}, [])


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (None, Reason.TOMBSTONE, "it has none"),
        (b"", Reason.TOMBSTONE, "it has none"),
        (b"x" * 1_001, Reason.TOO_LARGE, "at most 1,000 bytes, however: 1,001"),
        (b"{", Reason.NOT_JSON, "a label must be JSON such as"),
        (b'{"event_id": "\xff", "fraud": true}', Reason.NOT_JSON, "a label must be JSON such as"),
        (label(...), Reason.MISSING_FIELD, "event_id"),
        (label("t1", ...), Reason.MISSING_FIELD, "fraud"),
        (label("t1", "yes"), Reason.WRONG_TYPE, "fraud"),
        (label("t1", 1), Reason.WRONG_TYPE, "fraud"),
        (label("t1", kind="rumour"), Reason.WRONG_TYPE, "kind"),
        (label("t1", known_at="yesterday"), Reason.WRONG_TYPE, "known_at"),
        (label(""), Reason.EMPTY, "event_id must not be empty"),
        (label("x" * 257), Reason.TOO_LONG, "at most 256 characters, however: 257"),
        (label("t1", known_at="1969-12-31T00:00:00Z"), Reason.BEFORE_1970, "before 1970"),
        (label("t1", days_ago=-1), Reason.IN_THE_FUTURE, "is 86,400 s ahead"),
        (label("t9"), Reason.UNKNOWN_EVENT, "'t9' is not known; see labels.keep_days"),
        (label("t1", days_ago=6), Reason.BEFORE_EVENT, "known_at is 86,400 s before 't1'"),
    ],
)
def test_a_bad_label_is_a_reject_with_its_reason(
    value: bytes | None, reason: Reason, detail: str
) -> None:
    found = find(label("t2"), value)
    assert len(found.labels) == 1
    (reject,) = found.rejects
    assert (reject.row, reject.reason) == (1, reason)
    assert detail in reject.detail


def test_a_label_older_than_the_one_there_is_is_refused() -> None:
    found = find(label("t1", True, days_ago=1), label("t1", False, days_ago=2))
    assert found.labels.positive.tolist() == [1]
    (reject,) = found.rejects
    assert (reject.row, reject.reason) == (1, Reason.OUTDATED)
    assert "86,400 s before the one there is" in reject.detail


def test_an_integer_id_is_the_id_of_its_digits() -> None:
    columns = columns_of([Paid("17", "a", NOW_MS, 1.0)])
    kept = dict(zip(columns.values["event_id"].tolist(), reader().entries_of(columns), strict=True))
    assert len(find(label(17), kept={**kept}).labels) == 1


def test_labels_are_needed_where_a_quantity_is_made_of_them() -> None:
    events_only = TERMINAL.from_dict(
        TERMINAL.to_dict() | {"quantities": [TERMINAL.quantities[0].to_dict()]}
    )
    assert reader().is_needed
    assert not LabelReader(SCHEMA, [events_only], 1_000, 0).is_needed
