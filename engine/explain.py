"""The plain way to read an event: slow, and able to say what is wrong with it.

It serves as the reference of the compiled path in :mod:`engine.decode`, which hands over every
event that it refuses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from engine.columns import Reason, Reject
from engine.schema import Field, FieldType, Schema, TimeFormat

_SHOWN = 60
_EXPECTED = {
    FieldType.NUMBER: "a number",
    FieldType.IDENTIFIER: "a text or an integer",
    FieldType.CATEGORY: "a text, a number or a boolean",
}
_KINDS: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a text",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    type(None): "null",
}


def explain(row: int, value: bytes, schema: Schema, otherwise: str) -> Reject:
    """Return why an event cannot be read.

    Args:
        row: its place in the batch.
        value: its bytes.
        schema: what an event looks like.
        otherwise: the detail where nothing that is known here is wrong with it.
    """
    try:
        event = json.loads(value.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Reject(row, Reason.NOT_UTF8, f"an event must be UTF-8, however: {error}")
    except (ValueError, RecursionError) as error:
        return Reject(row, Reason.NOT_JSON, f"an event must be JSON, however: {error}")
    if not isinstance(event, dict):
        return Reject(
            row, Reason.NOT_OBJECT, f"an event must be a JSON object, however: {_shown(event)}"
        )
    account = find(event, schema.account)
    known = str(account) if isinstance(account, str | int) else None
    for field in schema.streamed:
        fault = _fault(field, event)
        if fault is not None:
            return Reject(row, fault[0], fault[1], known)
    return Reject(row, Reason.NOT_JSON, f"an event must be JSON, however: {otherwise}", known)


def find(event: Mapping[str, Any], field: Field) -> Any:
    """Return the field's value in a parsed event; None where it is missing or null."""
    node: Any = event
    for key in field.keys:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _fault(field: Field, event: Mapping[str, Any]) -> tuple[Reason, str] | None:
    node: Any = event
    missing = False
    for depth, key in enumerate(field.keys):
        if node is not None and not isinstance(node, Mapping):
            path = ".".join(field.keys[:depth])
            return Reason.WRONG_TYPE, f"{path} must be an object, however: {_shown(node)}"
        missing = node is None or key not in node
        node = node.get(key) if node is not None else None
    if node is None:
        if not field.required:
            return None
        found = "it is missing" if missing else "it is null"
        return Reason.MISSING_FIELD, f"{field.path} must have a value, however: {found}"
    return _wrong_value(field, node)


def _wrong_value(field: Field, value: Any) -> tuple[Reason, str] | None:
    if field.type is FieldType.TIMESTAMP:
        return _wrong_time(field, value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    right = {
        FieldType.NUMBER: number,
        FieldType.IDENTIFIER: isinstance(value, str) or (number and isinstance(value, int)),
        FieldType.CATEGORY: isinstance(value, str | bool) or number,
    }[field.type]
    if not right:
        expected = _EXPECTED[field.type]
        return Reason.WRONG_TYPE, f"{field.path} must be {expected}, however: {_shown(value)}"
    if number and not _is_finite(value):
        return Reason.NOT_FINITE, f"{field.path} must be a finite number, however: {_shown(value)}"
    return None


def _wrong_time(field: Field, value: Any) -> tuple[Reason, str] | None:
    if field.format is not TimeFormat.ISO8601:
        if isinstance(value, int | float) and not isinstance(value, bool):
            if _is_finite(value):
                return None
            return Reason.NOT_A_TIME, f"{field.path} must be a time, however: {_shown(value)}"
        unit = "seconds" if field.format is TimeFormat.EPOCH_S else "milliseconds"
        return Reason.WRONG_TYPE, (
            f"{field.path} must be a number of {unit} since 1970, however: {_shown(value)}"
        )
    if not isinstance(value, str):
        return Reason.WRONG_TYPE, (
            f"{field.path} must be an ISO 8601 time in a text, however: {_shown(value)}"
        )
    try:
        msgspec.convert(value, datetime)
    except (msgspec.ValidationError, UnicodeEncodeError):  # the latter: half a surrogate pair
        return Reason.NOT_A_TIME, (
            f"{field.path} must be an ISO 8601 time such as 2026-01-31T12:00:00Z, "
            f"however: {_shown(value)}"
        )
    return None


def _is_finite(value: int | float) -> bool:
    try:
        return abs(float(value)) < float("inf")
    except OverflowError:
        return False


def _shown(value: Any) -> str:
    kind = _KINDS.get(type(value), type(value).__name__)
    if isinstance(value, dict | list) or value is None:
        return kind
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return f"{kind} too long to show"
    return f"{kind}, {text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''}"
