"""Settings as TOML, for people to read and change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def toml_lines(values: Mapping[str, Any]) -> str:
    """Return plain settings, one a line.

    >>> print(toml_lines({"epochs": 3, "hidden": (64, 32), "precision": "auto"}))
    epochs = 3
    hidden = [64, 32]
    precision = "auto"
    """
    return "\n".join(f"{name} = {toml_value(value)}" for name, value in values.items())


def toml_value(value: Any) -> str:
    """Return a text, number, truth value or list as TOML, which JSON is for these."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def toml_families(families: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the tables of what families have of their own; empty where there are none.

    >>> print(toml_families({"gru": {"epochs": 3, "cell": {"size": 8}}}))
    [families.gru]
    epochs = 3
    <BLANKLINE>
    [families.gru.cell]
    size = 8
    """
    blocks = []
    for name, own in families.items():
        plain = {key: value for key, value in own.items() if not isinstance(value, Mapping)}
        tables = {key: value for key, value in own.items() if isinstance(value, Mapping)}
        if plain or not tables:
            blocks.append(f"[families.{name}]\n{toml_lines(plain)}")
        blocks += [f"[families.{name}.{key}]\n{toml_lines(part)}" for key, part in tables.items()]
    return "\n\n".join(blocks)
