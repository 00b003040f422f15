from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from engine.decode import Decoder
from engine.errors import SchemaError
from engine.schema import Field, FieldType, Role, Schema, TimeFormat

FRAUD = Path(__file__).parents[2] / "models" / "packs" / "fraud" / "schema.toml"


def field(name: str = "more", **changes: Any) -> dict[str, Any]:
    return {"name": name, "type": "number"} | changes


def schema(*more: dict[str, Any], without: str = "") -> Schema:
    """The least schema there is, with more fields, or without one of its own."""
    least = [
        field("event_id", type="identifier", role="event_id"),
        field("event_time", type="timestamp", role="event_time"),
        field("account", type="identifier", role="account"),
    ]
    return Schema.from_dict({"fields": [*(f for f in least if f["name"] != without), *more]})


def test_the_fraud_packs_fields_have_their_roles() -> None:
    fraud = Schema.from_dict(tomllib.loads(FRAUD.read_text()))
    assert (fraud.event_id.path, fraud.account.path) == ("transaction_id", "card_id")
    assert (fraud.event_time.path, fraud.event_time.format) == ("time", TimeFormat.ISO8601)
    assert fraud.amount is not None
    assert fraud.amount.minimum == 0
    assert [each.name for each in fraud.entities] == ["terminal"]
    assert fraud.label is not None
    assert "fraud" not in [each.name for each in fraud.streamed], "the label is not in the stream"


def test_a_field_that_says_little_is_a_required_feature_at_its_name() -> None:
    (found,) = schema(field("velocity")).fields[3:]
    assert found == Field("velocity", "velocity", FieldType.NUMBER, Role.FEATURE, required=True)


def test_roles_that_no_field_has_are_none() -> None:
    least = schema()
    assert (least.amount, least.label, least.entities) == (None, None, ())


@pytest.mark.parametrize("role", ["event_id", "event_time", "account"])
def test_a_schema_needs_one_field_of_each_main_role(role: str) -> None:
    with pytest.raises(SchemaError, match=f"one field with the role {role}, however: \\[\\]"):
        schema(without=role)
    kind = "timestamp" if role == "event_time" else "identifier"
    with pytest.raises(SchemaError, match=f"however: \\['{role}', 'other'\\]"):
        schema(field("other", type=kind, role=role))


@pytest.mark.parametrize("role", ["amount", "label"])
def test_a_schema_may_have_one_amount_and_one_label(role: str) -> None:
    with pytest.raises(SchemaError, match=r"however: \['a', 'b'\]"):
        schema(field("a", role=role), field("b", role=role))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (field("amount", type="category", role="amount"), "must have the type number.*amount has"),
        (field("two words"), "letters, digits and underscores, however: 'two words'"),
        (field(path="card..id"), "names joined by dots, however: 'card..id' of the field more"),
        (field(path=""), "names joined by dots"),
        (field(required=False), "optional number must have a default, however: more"),
        (field(type="text"), "'text'.*in the field more"),
        (field(role="owner"), "'owner'.*in the field more"),
        (field(type="timestamp", format="unix"), "'unix'.*in the field more"),
        (field(minumum=0), "however: 'minumum'; did you mean 'minimum'"),
        (field(zzz=0), "however: 'zzz'; known are default, format, max_length"),
        ({"name": "more"}, "must have 'type'"),
        ({"type": "number"}, "must have 'name'"),
        (field("account"), r"name must be its own, however: \['account'\]"),
        (field(path="account"), r"path must be its own, however: \['account'\]"),
        (field(path="account.country"), "'account.country'.*'account'"),
        (field(required=False, default="much"), "must be a finite number.*more has 'much'"),
        (field(required=False, default=True), "more has True"),
        (field(required=False, default=float("nan")), "more has nan"),
        (
            field(type="timestamp", required=False, default=0.0),
            "an ISO 8601 time in a text.*more has 0.0",
        ),
        (field(type="timestamp", required=False, default="soon"), "more has 'soon'"),
        (field(type="timestamp", format="epoch_s", required=False, default="0"), "finite.*has '0'"),
        (field(type="category", required=False, default=[]), "a text, a number or a boolean.*more"),
    ],
)
def test_a_field_that_contradicts_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        schema(more)


@pytest.mark.parametrize("raw", [{}, {"fields": None}, {"fields": {"name": "amount"}}])
def test_a_schema_without_a_list_of_fields_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="list of fields"):
        Schema.from_dict(raw)


def test_another_hash_is_refused() -> None:
    with pytest.raises(SchemaError, match="must be xxh3_64, however: md5"):
        Schema.from_dict({**schema().to_dict(), "hash": "md5"})


@pytest.mark.parametrize(
    "more",
    [
        field(role="amount", minimum=0.5, path="tx.amt"),
        field(required=False, default=-1.5),
        field(required=False, default=3),
        field(type="category", required=False, max_length=8),
        field(type="identifier", required=False, default="none", role="entity"),
        field(type="timestamp", format="epoch_ms", required=False, default=0.0),
        field(type="timestamp", required=False, default="2026-01-31T12:00:00Z"),
    ],
)
def test_what_a_manifest_holds_reads_as_the_same_schema(more: dict[str, Any]) -> None:
    declared = schema(more)
    assert Schema.from_dict(declared.to_dict()) == declared
    Decoder(declared)


def test_a_streams_own_paths_replace_the_schemas() -> None:
    mapped = schema(field("amount")).with_paths({"amount": "tx.amt", "account": "card.id"})
    assert [each.path for each in mapped.fields] == ["event_id", "event_time", "card.id", "tx.amt"]
    assert [each.name for each in mapped.fields] == ["event_id", "event_time", "account", "amount"]
    assert mapped.account.keys == ("card", "id")


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ({"amuont": "x"}, "however: 'amuont'; did you mean 'amount'"),
        ({"account": "amount"}, r"however: \['amount'\] twice"),
        ({"account": "amount.of"}, "'amount.of'.*'amount'"),
    ],
)
def test_a_wrong_mapping_is_refused(paths: dict[str, str], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        schema(field("amount")).with_paths(paths)
