"""The reference of every setting, made from :mod:`streams.settings`: as Markdown and as TOML.

The first is docs/configuration.md: ``python -m riskstream.settings_reference > FILE`` renews it.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from inspect import cleandoc
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel, SecretStr

from streams.configuration import variable_of
from streams.settings import Settings

_WIDTH = 100
_GROUPED_FROM = 10_000

_INTRODUCTION = """\
# Configuration

<!-- Made by riskstream/settings_reference.py from streams/settings.py. -->

One TOML file, named with `--config`, holds the settings; each has a default, so a file need only
say what differs. The environment variable of a setting wins over the file. A setting or a variable
`RISKSTREAM_…` that does not exist is an error that names the nearest one that does.

Units stand in the names: `_s` is seconds, `_ms` milliseconds, `_bytes` bytes, `_days` days.

Passwords belong in environment variables (`RISKSTREAM_BROKER__SASL_PASSWORD`,
`RISKSTREAM_STATE__URL`), not in the file. Neither logs nor error messages show them.

`riskstream settings` prints a file with every setting at its default, and
`riskstream settings --config FILE` checks one. Files to start from are in `config/`."""

#: The tables whose names the bundle knows: what each is, and an example.
_TABLES = {
    "fields": (
        """\
Where the fields of the model's events stand in this stream, if not where the bundle's schema
says: the field's name, and its path in the event. A dot in a path goes into an object.""",
        'amount = "payment.amount"\naccount = "card.number_token"',
    ),
    "parameters": (
        """\
Numbers that the model takes beside the event, instead of those that the bundle says: the loss
given default of the credit pack, for one. `riskstream bundle show` lists them.""",
        "loss_given_default = 0.6",
    ),
    "limits": (
        """\
From which value on a rule of the bundle holds, instead of what the bundle says: the rule's name,
and its limit. `riskstream bundle show` lists them.""",
        "volatility = 0.4",
    ),
}


@dataclass(frozen=True, slots=True)
class _Setting:
    """One setting: its section and name, what it is, its default, and its JSON schema."""

    section: str
    name: str
    description: str
    default: Any
    schema: dict[str, Any]

    @property
    def variable(self) -> str:
        return variable_of(f"{self.section}.{self.name}")


def reference_markdown() -> str:
    """Return the reference of all settings, a table a section."""
    parts = [_INTRODUCTION]
    for section, model in _sections():
        parts.append(f"## `[{section}]`\n\n{_about(model)}\n\n{_table(_settings(section, model))}")
    for name, (about, example) in _TABLES.items():
        first = example.split(" ", 1)[0]
        parts.append(
            f"## `[{name}]`\n\n{about}\n\n```toml\n[{name}]\n{example}\n```\n\n"
            f"The environment variable of `{name}.{first}` is `{variable_of(f'{name}.{first}')}`."
        )
    return "\n\n".join(parts) + "\n"


def reference_toml() -> str:
    """Return a configuration file with every setting at its default, explained by comments.

    A setting that is not set by default is written commented out.
    """
    parts = [
        "# Every setting of riskstream, at its default. Below each explanation stand the values\n"
        "# that it may have, and the environment variable that wins over this file."
    ]
    for section, model in _sections():
        parts.append(f"{_comment(_about(model))}\n[{section}]")
        parts += [_entry(setting) for setting in _settings(section, model)]
    for name, (about, example) in _TABLES.items():
        variable = variable_of(f"{name}.{example.split(' ', 1)[0]}")
        parts.append(
            f"{_comment(about)}\n# {variable} and so on\n[{name}]\n"
            + "\n".join(f"# {line}" for line in example.splitlines())
        )
    return "\n\n".join(parts) + "\n"


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield name, field.annotation


def _settings(section: str, model: type[BaseModel]) -> Iterator[_Setting]:
    whole = model.model_json_schema()
    definitions = whole.get("$defs", {})
    for name, field in model.model_fields.items():
        schema = whole["properties"][name]
        if "$ref" in schema:
            schema = definitions[schema["$ref"].rsplit("/", 1)[1]]
        description = " ".join((field.description or "").split())
        default = field.get_default(call_default_factory=True, validated_data={})
        yield _Setting(section, name, description, default, schema)


def _about(model: type[BaseModel]) -> str:
    return cleandoc(model.__doc__ or "")


def _entry(setting: _Setting) -> str:
    value = "…" if setting.default is None else _toml(setting.default)
    line = f"{'# ' if setting.default is None else ''}{setting.name} = {value}"
    about = (setting.description, f"({_allowed(setting.schema)}; {setting.variable})")
    return "\n".join([*map(_comment, about), line])


def _table(settings: Iterator[_Setting]) -> str:
    head = "| setting | default | values | what it is | environment variable |"
    rows = [
        f"| `{each.name}` | {_default(each.default)} | {_allowed(each.schema, '`')} "
        f"| {each.description} | `{each.variable}` |"
        for each in settings
    ]
    return "\n".join([head, "| --- | --- | --- | --- | --- |", *rows])


def _default(value: Any) -> str:
    return "not set" if value is None else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    """Return a value as TOML writes it.

    >>> _toml(True), _toml(1_048_588), _toml(6066), _toml(2.5), _toml(PurePath("a/b"))
    ('true', '1_048_588', '6066', '2.5', '"a/b"')
    """
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:_}" if value >= _GROUPED_FROM else str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str | PurePath):
        return json.dumps(str(value), ensure_ascii=False)
    raise TypeError(f"a default must be text, a number or a boolean, however: {value!r}")


def _allowed(schema: dict[str, Any], quote: str = "") -> str:
    """Return what values a setting may have, in words.

    >>> _allowed({"type": "integer", "minimum": 1, "maximum": 10_000})
    'a whole number from 1 to 10,000'
    >>> _allowed({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]})
    'a number greater than 0, or not set'
    """
    if "anyOf" in schema:
        given = [each for each in schema["anyOf"] if each.get("type") != "null"]
        return " or ".join(_allowed(each, quote) for each in given) + ", or not set"
    if "enum" in schema:
        return ", ".join(f"{quote}{each}{quote}" for each in schema["enum"])
    if "pattern" in schema:
        return f"text like {quote}{schema['pattern']}{quote}"
    if schema["type"] in ("integer", "number"):
        what = "a whole number" if schema["type"] == "integer" else "a number"
        return f"{what}{_range(schema)}"
    kinds = {"path": "a path", "password": "text, kept secret"}
    return kinds.get(schema.get("format", ""), "text")


def _range(schema: dict[str, Any]) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high = schema.get("maximum")
    start = "" if low is None else f" from {_number(low)}"
    if above is not None:
        start = f" greater than {_number(above)}"
    if high is None:
        return start
    return f"{start}{' and at most' if above is not None else ' to'} {_number(high)}"


def _number(value: float) -> str:
    return f"{value:,.10g}"


def _comment(text: str) -> str:
    lines = text.splitlines() if "\n" in text else textwrap.wrap(text, _WIDTH - 2)
    return "\n".join(f"# {line}" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(reference_markdown())
