"""Where a search looks for better settings, as a pack's ``search.toml`` says. Needs no PyTorch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engine.errors import ConfigError
from models.checks import check_family, check_keys
from models.config import TrainConfig, read_toml
from models.packs.registry import pack_folder

SEARCH_FILE = "search.toml"

#: The pack whose space is taken where a pack has none.
_MODEL_PACK = "fraud"

_RANGE = ("low", "high", "log")


class Trial(Protocol):
    """What draws values: Optuna's trial."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Draw a number."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Draw a whole number."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Draw one of some values."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """A setting that is searched: one of ``choices``, or a number from ``low`` to ``high``.

    Args:
        name: of the setting; ``cell.<option>`` for an option of the cell.
        choices: the values; empty for a range.
        low, high: the ends of the range; whole numbers give whole numbers.
        log: whether its orders of magnitude are equally likely.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    @classmethod
    def from_dict(cls, name: str, raw: Mapping[str, Any]) -> Dimension:
        """Read it from TOML. Raises :class:`ConfigError`."""
        if set(raw) == {"choices"} and isinstance(raw["choices"], list) and raw["choices"]:
            return cls(name, choices=tuple(raw["choices"]))
        if set(raw) <= set(_RANGE) and all(_is_number(raw.get(end)) for end in ("low", "high")):
            found = cls(name, low=raw["low"], high=raw["high"], log=raw.get("log", False))
            if found.low < found.high and (found.low > 0 or not found.log):
                return found
        raise ConfigError(
            f"a setting in {SEARCH_FILE} must have choices, or a low and a higher high (above 0 "
            f"with log), however: {name} has {dict(raw)}"
        )

    @property
    def whole(self) -> bool:
        """Whether the range is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def drawn(self, trial: Trial) -> Any:
        """Draw a value."""
        if self.choices:
            return json.loads(trial.suggest_categorical(self.name, list(map(_text, self.choices))))
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    def parameter(self, value: Any) -> Any:
        """Return a value as :meth:`drawn` draws it from a trial; None if it is none of these."""
        if self.choices:
            text = _text(value)
            return text if text in map(_text, self.choices) else None
        return value if _is_number(value) and self.low <= value <= self.high else None


@dataclass(frozen=True, slots=True)
class Space:
    """The settings that are searched for one family."""

    dimensions: tuple[Dimension, ...]

    def drawn(self, trial: Trial) -> dict[str, Any]:
        """Draw settings as :meth:`models.config.TrainConfig.with_family` takes them."""
        found: dict[str, Any] = {}
        for each in self.dimensions:
            if each.name.startswith(_CELL):
                found.setdefault("cell", {})[each.name.removeprefix(_CELL)] = each.drawn(trial)
            else:
                found[each.name] = each.drawn(trial)
        return found

    def parameters(self, config: TrainConfig) -> dict[str, Any]:
        """Return what settings are as parameters of a trial, where they lie in the space."""
        options = {f"{_CELL}{name}": value for name, value in config.scorer.cell.options.items()}
        values = {**config.scorer.to_dict(), **config.to_dict(), **options}
        found = {each.name: each.parameter(values.get(each.name)) for each in self.dimensions}
        return {name: value for name, value in found.items() if value is not None}

    def to_dict(self) -> dict[str, str]:
        """Return each dimension as a text, to compare spaces."""
        return {each.name: repr(each) for each in self.dimensions}


_CELL = "cell."


def load_space(folder: Path, config: TrainConfig) -> Space:
    """Read a pack's search space for the family of a configuration.

    Args:
        folder: the pack's; where it has no ``search.toml``, that of the fraud pack is taken.
        config: whose settings are searched.

    Raises:
        ConfigError: the file is no TOML, or a setting is unknown or has no range.
    """
    own = folder if (folder / SEARCH_FILE).is_file() else pack_folder(_MODEL_PACK)
    raw = read_toml(own / SEARCH_FILE)
    families = raw.pop("families", {})
    found = dict(_dimensions(raw))
    for family, table in families.items():
        check_family(family)
        of_family = dict(_dimensions(table))
        found |= of_family if family == config.scorer.cell.name else {}
    names = [each.split(".")[0] for each in found]
    check_keys(config.family_settings(), dict.fromkeys(names), SEARCH_FILE)
    if not found:
        raise ConfigError(f"{own / SEARCH_FILE} must name settings, however: it has none")
    return Space(tuple(found.values()))


def _dimensions(raw: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Dimension]]:
    for key, table in raw.items():
        name = above + key
        if not isinstance(table, Mapping):
            raise ConfigError(
                f"{SEARCH_FILE} must have a table for each setting, however: {name} is {table!r}"
            )
        if name == "cell":
            yield from _dimensions(table, _CELL)
        else:
            yield name, Dimension.from_dict(name, table)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)
