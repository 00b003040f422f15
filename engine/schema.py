"""What an event looks like: its fields, their types, and the role each plays.

A schema is declared by the bundle and never by code. A stream whose field names differ is a
mapping in the configuration: :meth:`Schema.with_paths`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Self

import msgspec

from engine.errors import SchemaError
from engine.hashing import HASH_NAME


class FieldType(StrEnum):
    """How a field's JSON value is read, and the column it becomes."""

    NUMBER = "number"  # float32
    CATEGORY = "category"  # string, number or boolean -> int64 hash
    IDENTIFIER = "identifier"  # string or integer -> int64 hash
    TIMESTAMP = "timestamp"  # -> int64 milliseconds since 1970-01-01T00:00Z


class Role(StrEnum):
    """What the engine does with a field."""

    EVENT_ID = "event_id"
    ACCOUNT = "account"
    EVENT_TIME = "event_time"
    AMOUNT = "amount"
    ENTITY = "entity"
    FEATURE = "feature"
    LABEL = "label"  # present in histories only, never in the stream


class TimeFormat(StrEnum):
    """How a timestamp is written. ISO 8601 without an offset is read as UTC."""

    ISO8601 = "iso8601"
    EPOCH_S = "epoch_s"
    EPOCH_MS = "epoch_ms"


_ONE_EACH = (Role.EVENT_ID, Role.ACCOUNT, Role.EVENT_TIME)
_TYPE_OF_ROLE = {
    Role.EVENT_ID: FieldType.IDENTIFIER,
    Role.ACCOUNT: FieldType.IDENTIFIER,
    Role.EVENT_TIME: FieldType.TIMESTAMP,
    Role.AMOUNT: FieldType.NUMBER,
    Role.ENTITY: FieldType.IDENTIFIER,
    Role.LABEL: FieldType.NUMBER,
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an event.

    Args:
        name: the name of the column, and of the graph's input.
        path: where the value is in the JSON; dots go down into objects (``card.id``).
        type: how it is read.
        role: what it is used for.
        required: whether an event without it, or with null, is refused.
        default: the value of an optional field that is missing or null.
        format: how a timestamp is written.
        minimum: the least value that a number may have; None for no bound.
        max_length: the most characters that an identifier or a category may have.
    """

    name: str
    path: str
    type: FieldType
    role: Role = Role.FEATURE
    required: bool = True
    default: str | float | None = None
    format: TimeFormat = TimeFormat.ISO8601
    minimum: float | None = None
    max_length: int = 256

    def __post_init__(self) -> None:
        expected = _TYPE_OF_ROLE.get(self.role)
        if expected is not None and self.type is not expected:
            raise SchemaError(
                f"a field with the role {self.role} must have the type {expected}, "
                f"however: {self.name} has {self.type}; change its type or its role"
            )
        if not self.name.isidentifier():
            raise SchemaError(
                f"a field's name must be letters, digits and underscores, however: {self.name!r}"
            )
        if not all(self.path.split(".")):
            raise SchemaError(
                f"a field's path must be names joined by dots, however: {self.path!r} "
                f"of the field {self.name}"
            )
        if not self.required and self.default is None and self.type is not FieldType.CATEGORY:
            raise SchemaError(
                f"an optional {self.type} must have a default, however: {self.name} has none; "
                "give it a default or make it required"
            )
        if self.default is not None and not self._fits(self.default):
            raise SchemaError(
                f"the default of a {self.type} must be {self._default_rule}, however: "
                f"{self.name} has {self.default!r}"
            )

    @property
    def _default_rule(self) -> str:
        if self.type is FieldType.TIMESTAMP and self.format is TimeFormat.ISO8601:
            return "an ISO 8601 time in a text"
        if self.type in (FieldType.NUMBER, FieldType.TIMESTAMP):
            return "a finite number"
        return "a text, a number or a boolean"

    def _fits(self, default: Any) -> bool:
        if self.type is FieldType.TIMESTAMP and self.format is TimeFormat.ISO8601:
            return isinstance(default, str) and _is_iso(default)
        if self.type in (FieldType.NUMBER, FieldType.TIMESTAMP):
            number = isinstance(default, int | float) and not isinstance(default, bool)
            return number and math.isfinite(default)
        return isinstance(default, str | int | float)

    @property
    def keys(self) -> tuple[str, ...]:
        """The path's parts, from the outermost object inwards."""
        return tuple(self.path.split("."))

    def to_dict(self) -> dict[str, Any]:
        """Return the field as the manifest holds it."""
        return {
            "name": self.name,
            "path": self.path,
            "type": str(self.type),
            "role": str(self.role),
            "required": self.required,
            "default": self.default,
            "format": str(self.format),
            "minimum": self.minimum,
            "max_length": self.max_length,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read a field from a manifest or a schema file. Raises :class:`SchemaError`."""
        known = {"name", "path", "type", "role", "required", "default", "format", "minimum"}
        known |= {"max_length"}
        for key in raw:
            if key not in known:
                raise SchemaError(_unknown("a field's setting", key, known))
        try:
            values = dict(raw)
            values.setdefault("path", values["name"])
            values["type"] = FieldType(values["type"])
            values["role"] = Role(values.get("role", Role.FEATURE))
            values["format"] = TimeFormat(values.get("format", TimeFormat.ISO8601))
        except KeyError as error:
            raise SchemaError(f"a field must have {error}, however: {dict(raw)}") from None
        except ValueError as error:
            raise SchemaError(f"{error}, however it stands in the field {raw['name']}") from None
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Schema:
    """The fields of an event, in the order of the graph's inputs."""

    fields: tuple[Field, ...]
    hash_name: str = HASH_NAME
    _by_role: dict[Role, Field] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for what in ("name", "path"):
            values = [getattr(each, what) for each in self.fields]
            repeated = sorted({value for value in values if values.count(value) > 1})
            if repeated:
                raise SchemaError(f"each field's {what} must be its own, however: {repeated} twice")
        _check_nesting({each.path for each in self.fields})
        for role in Role:
            found = [each.name for each in self.fields if each.role is role]
            if role in _ONE_EACH and len(found) != 1:
                raise SchemaError(
                    f"a schema must have one field with the role {role}, however: {found}"
                )
            if role in (Role.AMOUNT, Role.LABEL) and len(found) > 1:
                raise SchemaError(f"a schema may have one {role}, however: {found}")
        if self.hash_name != HASH_NAME:
            raise SchemaError(
                f"the hash of strings must be {HASH_NAME}, however: {self.hash_name}; "
                "this bundle needs another version of riskstream"
            )
        object.__setattr__(self, "_by_role", {each.role: each for each in reversed(self.fields)})

    @property
    def event_id(self) -> Field:
        """The field that identifies an event."""
        return self._by_role[Role.EVENT_ID]

    @property
    def account(self) -> Field:
        """The field that owns the state, and is the topic's key."""
        return self._by_role[Role.ACCOUNT]

    @property
    def event_time(self) -> Field:
        """The field that says when the event happened."""
        return self._by_role[Role.EVENT_TIME]

    @property
    def amount(self) -> Field | None:
        """The amount of money, where there is one."""
        return self._by_role.get(Role.AMOUNT)

    @property
    def label(self) -> Field | None:
        """The field of a history that says what an event turned out to be."""
        return self._by_role.get(Role.LABEL)

    @property
    def entities(self) -> tuple[Field, ...]:
        """The entities that events of many accounts share, such as terminals."""
        return tuple(each for each in self.fields if each.role is Role.ENTITY)

    @property
    def streamed(self) -> tuple[Field, ...]:
        """The fields that an event of the stream carries: all but the label."""
        return tuple(each for each in self.fields if each.role is not Role.LABEL)

    def with_paths(self, paths: Mapping[str, str]) -> Schema:
        """Return the schema for a stream whose fields stand elsewhere.

        Args:
            paths: field name to the path it has in that stream.

        Raises:
            SchemaError: a name is not a field of this schema.
        """
        names = {each.name for each in self.fields}
        for name in paths:
            if name not in names:
                raise SchemaError(_unknown("a mapped field", name, names))
        return Schema(
            tuple(replace(each, path=paths.get(each.name, each.path)) for each in self.fields),
            self.hash_name,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as the manifest holds it."""
        return {"hash": self.hash_name, "fields": [each.to_dict() for each in self.fields]}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read a schema from a manifest or a schema file. Raises :class:`SchemaError`."""
        if not isinstance(raw.get("fields"), list):
            raise SchemaError("a schema must have a list of fields, however: it has none")
        return cls(
            tuple(Field.from_dict(each) for each in raw["fields"]), raw.get("hash", HASH_NAME)
        )


def _check_nesting(paths: set[str]) -> None:
    for path in sorted(paths):
        keys = path.split(".")
        for depth in range(1, len(keys)):
            if ".".join(keys[:depth]) in paths:
                raise SchemaError(
                    f"a field must not lie inside another, however: {path!r} lies inside "
                    f"{'.'.join(keys[:depth])!r}; map one of them to another path"
                )


def _is_iso(text: str) -> bool:
    try:
        msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return False
    return True


def _unknown(what: str, found: str, known: set[str]) -> str:
    near = get_close_matches(found, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    return f"{what} must be one that exists, however: {found!r}; {hint}"
