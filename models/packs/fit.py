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
    found = {each.name: each.type for each in schema.streamed}
    for name, readers in _readers(config).items():
        if name not in found:
            raise SchemaError(
                f"a scorer must read fields that the schema has, however: there is no {name!r}, "
                f"which is read by {', '.join(readers)}; known are {', '.join(found)}; {_ADVICE}"
            )
        for reader, kind in readers.items():
            if kind is not None and found[name] is not kind:
                raise SchemaError(
                    f"what {reader} reads must be of the type {kind}, however: {name!r} is of the "
                    f"type {found[name]}; change one of {SCHEMA_FILE} and {SCORER_FILE}"
                )


def _readers(config: ScorerConfig) -> dict[str, dict[str, FieldType | None]]:
    """Return each field that a scorer reads by name: what reads it, to the type that needs."""
    readers: dict[str, dict[str, FieldType | None]] = defaultdict(dict)
    if config.counterparty is not None:
        readers[config.counterparty]["the counterparty"] = None
    for shared in config.shared:
        own = [part.name for part in config.features if part.options.get("entity") == shared.name]
        users = f" ({', '.join(dict.fromkeys(own))})" if own else ""
        readers[shared.field][f"the entity {shared.name}{users}"] = FieldType.IDENTIFIER
    for part in config.features:
        fields = part.options.get("fields", ())
        for name in fields if isinstance(fields, list | tuple) else ():
            readers[str(name)][f"the feature {part.name}"] = FieldType.NUMBER
    return readers
