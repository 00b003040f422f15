"""What a bundle says of itself: everything the engine must know to run its graphs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Self

from engine.decisions import (
    DECISION_NAMES,
    LEVELS,
    Rule,
    Thresholds,
    check_names,
    limited,
)
from engine.errors import BundleError, ConfigError, SchemaError
from engine.layout import StateLayout
from engine.schema import Schema
from engine.shared import SharedEntity

__all__ = ["Manifest", "ReasonGroup", "Rule", "Thresholds"]

#: The version of the manifest's format. A bundle of another one is refused.
FORMAT = 1

MODEL_FILE = "model.onnx"
REASONS_FILE = "reasons.onnx"
MANIFEST_FILE = "manifest.json"

#: Every input of the graph that is a parameter has a name that begins so.
PARAMETER_PREFIX = "parameter_"

#: In what the reasons of a probability are counted.
LOG_ODDS = "log_odds"


@dataclass(frozen=True, slots=True)
class ReasonGroup:
    """A group of features that the reasons graph holds at its reference value.

    Args:
        name: short and stable, for machines.
        text: a sentence for an analyst.
    """

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """A bundle's manifest. ``training``, ``metrics`` and ``versions`` are for people.

    ``features`` names the columns that the reasons graph gives as ``features``; ``outputs`` the
    values that the scoring graph gives beside the score; ``parameters`` the numbers that it takes
    beside the event, each with its default; ``parameter_bounds`` the least and the largest value of
    those that have bounds. Where there are ``rules``, these decide and not the thresholds.
    ``decisions`` are named in the order of rising risk; ``reasons_in`` says what the contributions
    of the reasons are counted in.
    """

    name: str
    version: str
    pack: str
    family: str
    created: str
    schema: Schema
    state: StateLayout
    thresholds: Thresholds
    reasons: tuple[ReasonGroup, ...]
    shared: tuple[SharedEntity, ...] = ()
    features: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    parameters: Mapping[str, float] = field(default_factory=dict)
    parameter_bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    decisions: tuple[str, ...] = DECISION_NAMES
    reasons_in: str = LOG_ODDS
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.decisions) != LEVELS or len(set(self.decisions)) != LEVELS:
            raise BundleError(
                f"a bundle must have {LEVELS} different decisions, in the order of rising risk, "
                f"however: {self.decisions}"
            )

    def in_use(self, parameters: Mapping[str, float], limits: Mapping[str, float]) -> Self:
        """Return the manifest with other parameters and with other limits of its rules, by name.

        Raises:
            ConfigError: a name is none of the bundle's, or a parameter is out of its bounds.
        """
        check_names("a parameter", "parameter", parameters, list(self.parameters))
        for name, value in parameters.items():
            _check_parameter(name, value, self.parameter_bounds.get(name))
        return replace(
            self,
            parameters={**self.parameters, **parameters},
            rules=limited(self.rules, limits),
        )

    @property
    def parameter_inputs(self) -> dict[str, float]:
        """The parameters by the names of the graph's inputs."""
        return {f"{PARAMETER_PREFIX}{name}": value for name, value in self.parameters.items()}

    @property
    def stored_digest(self) -> str:
        """A digest of all that decides what a store's states and buckets mean."""
        shared = [each.digest for each in self.shared]
        if not shared:
            return self.state.digest
        return sha256(json.dumps([self.state.digest, shared]).encode()).hexdigest()[:12]

    def to_dict(self, files: Mapping[str, str]) -> dict[str, Any]:
        """Return the manifest as JSON holds it.

        Args:
            files: file name to the SHA-256 of its content.
        """
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "pack": self.pack,
            "family": self.family,
            "created": self.created,
            "schema": self.schema.to_dict(),
            "state": self.state.to_dict(),
            "shared": [each.to_dict() for each in self.shared],
            "features": list(self.features),
            "thresholds": {
                "review": self.thresholds.review,
                "decline": self.thresholds.decline,
            },
            "reasons": [{"name": each.name, "text": each.text} for each in self.reasons],
            **self._beyond_a_score(),
            "training": dict(self.training),
            "metrics": dict(self.metrics),
            "versions": dict(self.versions),
            "files": dict(files),
        }

    def _beyond_a_score(self) -> dict[str, Any]:
        """Return what only a bundle has that gives more than a score and its two thresholds."""
        said: dict[str, Any] = {}
        if self.outputs:
            said["outputs"] = list(self.outputs)
        if self.parameters:
            said["parameters"] = dict(self.parameters)
        if self.parameter_bounds:
            said["parameter_bounds"] = {
                name: list(bounds) for name, bounds in self.parameter_bounds.items()
            }
        if self.rules:
            said["rules"] = [each.to_dict() for each in self.rules]
        if self.decisions != DECISION_NAMES:
            said["decisions"] = list(self.decisions)
        if self.reasons_in != LOG_ODDS:
            said["reasons_in"] = self.reasons_in
        return said

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read a manifest. Raises :class:`BundleError`."""
        if raw.get("format") != FORMAT:
            raise BundleError(
                f"a bundle's format must be {FORMAT}, however: {raw.get('format')!r}; "
                "use the version of riskstream it was made with, or export it again"
            )
        try:
            return cls(
                name=_text(raw, "name"),
                version=_text(raw, "version"),
                pack=_text(raw, "pack"),
                family=_text(raw, "family"),
                created=_text(raw, "created"),
                schema=Schema.from_dict(raw["schema"]),
                state=StateLayout.from_dict(raw["state"]),
                thresholds=Thresholds(**raw["thresholds"]),
                reasons=tuple(ReasonGroup(**each) for each in raw["reasons"]),
                shared=tuple(SharedEntity.from_dict(each) for each in raw["shared"]),
                features=tuple(map(str, raw.get("features", ()))),
                outputs=tuple(map(str, raw.get("outputs", ()))),
                parameters={
                    str(name): float(value) for name, value in raw.get("parameters", {}).items()
                },
                parameter_bounds={
                    str(name): (float(least), float(most))
                    for name, (least, most) in raw.get("parameter_bounds", {}).items()
                },
                rules=tuple(Rule.from_dict(each) for each in raw.get("rules", ())),
                decisions=tuple(map(str, raw.get("decisions", DECISION_NAMES))),
                reasons_in=str(raw.get("reasons_in", LOG_ODDS)),
                training=dict(raw["training"]),
                metrics=dict(raw["metrics"]),
                versions=dict(raw["versions"]),
            )
        except KeyError as error:
            raise BundleError(f"a manifest must have {error}, however: it is missing") from None
        except SchemaError as error:
            raise BundleError(f"a manifest's schema must be valid, however: {error}") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"a manifest must be well-formed, however: {error}") from None


def _check_parameter(name: str, value: float, bounds: tuple[float, float] | None) -> None:
    """Raise :class:`ConfigError` where a configured parameter may not have its value."""
    if bounds is None:
        rule, holds = "finite", math.isfinite(value)
    else:
        rule, holds = f"{bounds[0]:g} to {bounds[1]:g}", bounds[0] <= value <= bounds[1]
    if not holds:
        raise ConfigError(
            f"parameter {name} must be {rule}, however: {value:g}; change it under [parameters]"
        )


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw[key]
    if not isinstance(value, str) or not value:
        raise BundleError(f"a manifest's {key} must be a text, however: {value!r}")
    return value
