"""Checks of settings that a person wrote. Need no PyTorch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from engine.errors import ConfigError

#: The names of the families of cell.
FAMILIES = ("gru", "cnn", "attention", "mlp")

#: The types of plain settings, as dataclasses write them: what fits, and what to call it.
_PLAIN: dict[str, tuple[type | tuple[type, ...], str]] = {
    "int": (int, "whole number"),
    "float": ((int, float), "number"),
    "str": (str, "text"),
}


def check_family(family: str) -> None:
    """Raise :class:`ConfigError` if there is no such family of cell."""
    if family not in FAMILIES:
        raise ConfigError(
            f"a cell's family must be one of {', '.join(FAMILIES)}, however: {family!r}; "
            "change it in scorer.toml or training.toml, or give another with --family"
        )


def check_keys(known: Collection[str], raw: Mapping[str, Any], where: str) -> None:
    """Raise :class:`ConfigError` if a key is not a known one; ``where`` says who has them."""
    for key in raw:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"{where} must only have known settings, however: {key!r}; {hint}")


def check_types(config: Any, file: str) -> None:
    """Raise :class:`ConfigError` if a plain setting of a dataclass is of another type than its own.

    A whole number may stand for any number; a truth value stands for neither.

    Args:
        config: an instance, in whose module annotations are texts.
        file: where its settings are changed.
    """
    for each in fields(config):
        value = getattr(config, each.name)
        fits, called = _PLAIN.get(str(each.type), (object, ""))
        if not isinstance(value, fits) or (called and isinstance(value, bool)):
            raise ConfigError(
                f"{each.name} must be a {called}, however: {value!r}; change it in {file}"
            )
