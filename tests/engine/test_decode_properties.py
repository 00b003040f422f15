"""Whatever arrives, decoding never fails, and never answers otherwise than the plain way."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.columns import Columns, Reason
from engine.decode import Decoder, Limits
from engine.explain import explain, find
from engine.records import Origin, dead_letter
from engine.schema import Field, FieldType, Role, Schema, TimeFormat
from tests.bundles import SCHEMA
from tests.engine.tools import NOW_MS, payment, pieces

NESTED = Schema(
    (
        Field("event_id", "id", FieldType.IDENTIFIER, Role.EVENT_ID),
        Field("account", "card.id", FieldType.IDENTIFIER, Role.ACCOUNT),
        Field("event_time", "at", FieldType.TIMESTAMP, Role.EVENT_TIME, format=TimeFormat.EPOCH_S),
        Field("country", "card.from.country", FieldType.CATEGORY, required=False),
        Field("amount", "tx.amount", FieldType.NUMBER, Role.AMOUNT, required=False, default=0.0),
    )
)
DECODERS = {"flat": Decoder(SCHEMA), "nested": Decoder(NESTED)}
#: What only whole columns are checked for, so that both ways of reading accept it.
_OF_COLUMNS = {
    Reason.NOT_FINITE,
    Reason.BELOW_MINIMUM,
    Reason.EMPTY,
    Reason.TOO_LONG,
    Reason.NOT_A_TIME,
    Reason.BEFORE_1970,
    Reason.IN_THE_FUTURE,
}
_NOTHING_WRONG = "nothing is wrong"

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.text(st.characters(), max_size=5),
    st.sampled_from(
        ["", "\ud800", "x" * 300, "2026-01-31T12:00:00Z", "2026-01-31", "9999-12-31T23:59:59Z"]
    ),
    st.sampled_from([0, -1, 1_769_860_800, 1e300, 253_402_300_800]),
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def _object(good: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects like a good one, in which a few values are replaced, left out or added."""
    replaced = st.dictionaries(st.sampled_from([*good, "more"]), _values, max_size=2)
    without = st.sets(st.sampled_from(list(good)), max_size=1)
    return st.just(good) | st.builds(
        lambda changes, left_out: {
            key: value for key, value in (good | changes).items() if key not in left_out
        },
        replaced,
        without,
    )


_card = _object({"id": "c1", "from": {"country": "AT"}})
_events = {
    "flat": _object(payment()),
    "nested": st.builds(
        lambda card, event: {"card": card} | event,
        _card | _card | _card | _values,
        _object({"id": 7, "at": 1_769_860_800, "tx": {"amount": 1}}),
    ),
}


def _records(name: str) -> st.SearchStrategy[bytes | None]:
    written = _events[name].map(lambda event: json.dumps(event).encode())
    other = _values.map(lambda value: json.dumps(value).encode())
    cut = st.builds(lambda value, at: value[:at], written, st.integers(0, 120))
    flipped = st.builds(
        lambda value, at, byte: value[:at] + bytes([byte]) + value[at + 1 :],
        written,
        st.integers(0, 120),
        st.integers(0, 255),
    )
    return written | flipped | cut | other | st.binary(max_size=20) | st.none()


_batches = st.sampled_from(sorted(DECODERS)).flatmap(
    lambda name: st.tuples(st.just(DECODERS[name]), st.lists(_records(name), max_size=8))
)


def _same(one: Columns, other: Columns) -> bool:
    return (
        (one.event_ids, one.accounts) == (other.event_ids, other.accounts)
        and one.rows.tolist() == other.rows.tolist()
        and one.event_time_ms.tolist() == other.event_time_ms.tolist()
        and all(np.array_equal(one.values[name], other.values[name]) for name in one.values)
    )


@given(batch=_batches)
def test_each_row_is_an_event_or_a_reject(batch: tuple[Decoder, list[bytes | None]]) -> None:
    decoder, values = batch
    decoded = decoder.decode(values, NOW_MS)
    events, rejects = decoded.columns.rows.tolist(), [each.row for each in decoded.rejects]
    assert events == sorted(events)
    assert rejects == sorted(rejects)
    assert sorted(events + rejects) == list(range(len(values)))
    columns = decoded.columns
    assert {len(column) for column in columns.values.values()} == {len(columns)}
    assert len(columns.accounts) == len(columns.event_time_ms) == len(columns)
    for each in decoded.rejects:
        assert each.detail
        dead_letter(each, None, values[each.row], Origin("t", 0, 0, NOW_MS), 1_000)


@given(batch=_batches)
def test_the_compiled_way_accepts_what_the_plain_way_accepts(
    batch: tuple[Decoder, list[bytes | None]],
) -> None:
    decoder, values = batch
    decoded = decoder.decode(values, NOW_MS)
    accepted = set(decoded.columns.rows.tolist())
    accepted |= {each.row for each in decoded.rejects if each.reason in _OF_COLUMNS}
    for row, value in enumerate(values):
        if value:
            plain = explain(row, value, decoder.schema, _NOTHING_WRONG)
            if plain.detail.endswith(_NOTHING_WRONG):
                assert row in accepted or _plain_is_lenient(value)
            else:
                assert row not in decoded.columns.rows


def _plain_is_lenient(value: bytes) -> bool:
    """Whether Python takes for JSON what is none: NaN, Infinity or half a surrogate pair."""
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return True
    return False


@given(event=_events["nested"])
def test_a_columns_value_is_the_one_at_the_fields_path(event: dict[str, Any]) -> None:
    columns = DECODERS["nested"].decode([json.dumps(event).encode()], NOW_MS).columns
    if len(columns):
        assert columns.event_ids == [str(find(event, NESTED.event_id))]
        assert columns.accounts == [str(find(event, NESTED.account))]
        assert columns.event_time_ms[0] == pytest.approx(
            find(event, NESTED.event_time) * 1000, abs=0.51
        )
        assert NESTED.amount is not None
        amount = find(event, NESTED.amount)
        assert columns.values["amount"][0] == np.float32(0.0 if amount is None else amount)


@given(batch=_batches, cuts=st.lists(st.integers(0, 8), max_size=3))
def test_a_batch_decodes_as_its_pieces_do(
    batch: tuple[Decoder, list[bytes | None]], cuts: list[int]
) -> None:
    decoder, values = batch
    whole = decoder.decode(values, NOW_MS)
    parts, rejects = [], []
    for piece in pieces(len(values), cuts):
        part = decoder.decode(values[piece], NOW_MS)
        parts.append(part.columns.shifted(piece.start))
        rejects += [(each.row + piece.start, each.reason, each.detail) for each in part.rejects]
    assert _same(Columns.concatenate(parts), whole.columns)
    assert rejects == [(each.row, each.reason, each.detail) for each in whole.rejects]


@given(value=st.binary(max_size=400))
def test_a_small_limit_is_kept(value: bytes) -> None:
    decoded = Decoder(SCHEMA, Limits(max_bytes=100)).decode([value], NOW_MS)
    large = [each.reason for each in decoded.rejects] == [Reason.TOO_LARGE]
    assert large == (len(value) > 100)
