"""Reading the configuration, and saying what is wrong with it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, InitSettingsSource

from engine.errors import ConfigError
from streams.settings import Settings

_PREFIX = "RISKSTREAM_"

#: Settings whose names the bundle knows, and not the settings.
_TABLES = ("FIELDS", "PARAMETERS", "LIMITS")

#: Names the configuration file, where the command line does not.
CONFIG_VARIABLE = "RISKSTREAM_CONFIG"


def load_settings(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the configuration.

    Args:
        path: a TOML file; None for the defaults.
        overrides: dotted names to values that win over the environment, which wins over the file.

    Raises:
        ConfigError: the file cannot be read, or a setting is unknown or wrong.
    """
    file = {} if path is None else _read(path)
    given: dict[str, Any] = {}
    for name, value in (overrides or {}).items():
        section, key = name.split(".", 1)
        given.setdefault(section, {})[key] = value
    _refuse_unknown_variables(os.environ)
    try:
        loaded = _with_file(file)(**given)
    except ValidationError as error:
        where = "the configuration" if path is None else str(path)
        faults = "\n".join(f"  {_describe(each)}" for each in error.errors())
        raise ConfigError(f"{where} must be valid, however:\n{faults}") from None
    return Settings.model_construct(**dict(loaded))


def setting_names() -> Iterator[str]:
    """Yield the dotted name of every setting."""
    for section, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (f"{section}.{name}" for name in field.annotation.model_fields)


def variable_of(name: str) -> str:
    """Return the environment variable of a setting.

    >>> variable_of("state.url")
    'RISKSTREAM_STATE__URL'
    """
    return _PREFIX + name.replace(".", "__").upper()


def _with_file(file: dict[str, Any]) -> type[Settings]:
    """Return the settings with a file's content as the source of the lowest rank."""

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(  # type: ignore[override]
            cls, settings_cls: type[BaseSettings], **sources: Any
        ) -> tuple[Any, ...]:
            from_file = InitSettingsSource(settings_cls, init_kwargs=file)
            return sources["init_settings"], sources["env_settings"], from_file

    return Loaded


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(
            f"the configuration must be a file, however: {path} does not exist"
        ) from None
    except OSError as error:
        raise ConfigError(f"the configuration must be readable, however: {error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration must be TOML, however: {path}: {error}") from None


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    known = [variable_of(name) for name in setting_names()]
    for variable in environment:
        name = variable.upper()
        if not name.startswith(_PREFIX) or name in (*known, CONFIG_VARIABLE):
            continue
        if name.startswith(tuple(f"{_PREFIX}{table}__" for table in _TABLES)):
            continue
        raise ConfigError(
            f"an environment variable {_PREFIX}… must name a setting, however: {variable}; "
            f"{_nearest(name, known)}"
        )


def _describe(fault: ErrorDetails) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        sections = list(Settings.model_fields)
        known = sections if len(fault["loc"]) == 1 else list(setting_names())
        return f"{name}: there is no such setting; {_nearest(name, known)}"
    rule = fault["msg"].removeprefix("Value error, ")
    if not name or fault["type"] == "value_error":
        return rule
    found = fault.get("input")
    secret = len(fault["loc"]) == 1 or "password" in name or "url" in name
    shown = "(not shown)" if secret else repr(found)
    return f"{name}: {rule[0].lower()}{rule[1:]}, however: {shown}"


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    if near:
        return f"did you mean {near[0]}?"
    return f"known are {', '.join(known[:12])}{' …' if len(known) > 12 else ''}"
