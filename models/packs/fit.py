"""Whether a pack's scorer fits its schema. Needs no PyTorch."""

from __future__ import annotations

from collections import defaultdict

from engine.errors import SchemaError
from engine.schema import FieldType, Schema
from models.config import SCORER_FILE, ScorerConfig
from models.packs.registry import SCHEMA_FILE

_ADVICE = (
    f"add it to {SCHEMA_FILE}, take what reads it out of {SCORER_FILE}, or let "
    "`riskstream data draft` write both for the columns of your file"
)


def check_pack(schema: Schema, config: ScorerConfig) -> None:
    """Check that the schema has every field that the scorer reads, of a fitting type.

    Raises:
        SchemaError: a field is missing or of another type; names what reads it.
    """
    if schema.amount is None:
        raise SchemaError(
            "a scorer must have a schema with an amount, however: no field has the role amount; "
            f"give one in {SCHEMA_FILE}"
        )
    for (name, kind), readers in _readers(config).items():
        found = {each.name: each.type for each in schema.streamed}
        if name not in found:
            raise SchemaError(
                f"a scorer must read fields that the schema has, however: there is no {name!r}, "
                f"which is read by {', '.join(readers)}; known are {', '.join(found)}; {_ADVICE}"
            )
        if kind is not None and found[name] is not kind:
            raise SchemaError(
                f"what {', '.join(readers)} reads must be of the type {kind}, however: {name!r} "
                f"is of the type {found[name]}; change one of {SCHEMA_FILE} and {SCORER_FILE}"
            )


def _readers(config: ScorerConfig) -> dict[tuple[str, FieldType | None], list[str]]:
    """Return each field that a scorer reads by name, its type, and what reads it."""
    readers: dict[tuple[str, FieldType | None], list[str]] = defaultdict(list)
    if config.counterparty is not None:
        readers[config.counterparty, None].append("counterparty")
    for shared in config.shared:
        own = [part.name for part in config.features if part.options.get("entity") == shared.name]
        users = f" ({', '.join(dict.fromkeys(own))})" if own else ""
        readers[shared.field, FieldType.IDENTIFIER].append(f"the entity {shared.name}{users}")
    for part in config.features:
        fields = part.options.get("fields", ())
        for name in fields if isinstance(fields, list | tuple) else ():
            readers[str(name), FieldType.NUMBER].append(f"the feature {part.name}")
    return readers
