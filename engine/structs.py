"""A schema as a compiled type: one pass from an event's bytes to typed values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec

from engine.schema import Field
from engine.values import json_type

#: The tree of the fields' paths: key to a field, or to what lies in the object of that name.
_Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EventType:
    """The compiled type of an event.

    Args:
        decode: bytes to a struct; raises ``msgspec.MsgspecError``, ``UnicodeDecodeError`` or
            ``RecursionError``.
        read: for each field, in the schema's order, from structs to its JSON values.
    """

    decode: Callable[[bytes], Any]
    read: tuple[Callable[[list[Any]], list[Any]], ...]

    @classmethod
    def of(cls, fields: Sequence[Field]) -> EventType:
        """Compile the type of events with these fields."""
        tree: _Tree = {}
        for field in fields:
            node = tree
            for key in field.keys[:-1]:
                node = node.setdefault(key, {})
            node[field.keys[-1]] = field
        decode = msgspec.json.Decoder(_struct(tree)).decode
        return cls(decode, tuple(_reader(tree, field) for field in fields))


def _struct(tree: _Tree) -> type[msgspec.Struct]:
    members: list[Any] = []
    for at, (key, node) in enumerate(tree.items()):
        kind = json_type(node) if isinstance(node, Field) else _struct(node)
        required = any(field.required for field in _leaves(node))
        default = msgspec.NODEFAULT if required else None
        name = msgspec.field(name=key, default=default)
        members.append((f"f{at}", kind if required else kind | None, name))
    return msgspec.defstruct("Event", members, gc=False, kw_only=True)


def _leaves(node: Any) -> list[Field]:
    if isinstance(node, Field):
        return [node]
    return [field for child in node.values() for field in _leaves(child)]


def _reader(tree: _Tree, field: Field) -> Callable[[list[Any]], list[Any]]:
    names = []
    node: Any = tree
    for key in field.keys:
        names.append(f"f{list(node).index(key)}")
        node = node[key]
    if field.required or len(names) == 1:
        get = attrgetter(".".join(names))
        return lambda structs: [get(each) for each in structs]
    return lambda structs: [_get_or_none(each, names) for each in structs]


def _get_or_none(struct: Any, names: Sequence[str]) -> Any:
    for name in names:
        if struct is None:
            return None
        struct = getattr(struct, name)
    return struct
