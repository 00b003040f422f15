"""What a bundle says of itself: everything the engine must know to run its graphs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Self

from engine.errors import BundleError, SchemaError
from engine.layout import StateLayout
from engine.schema import Schema
from engine.shared import SharedEntity

#: The version of the manifest's format. A bundle of another one is refused.
FORMAT = 1

MODEL_FILE = "model.onnx"
REASONS_FILE = "reasons.onnx"
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which score on an event is reviewed, and from which it is declined.

    Both are probabilities; ``review <= decline``.
    """

    review: float
    decline: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.review <= self.decline <= 1.0:
            raise BundleError(
                "the thresholds must satisfy 0 <= review <= decline <= 1, however: "
                f"review={self.review}, decline={self.decline}"
            )


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

    ``features`` names the columns that the reasons graph gives as ``features``.
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
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

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
            "training": dict(self.training),
            "metrics": dict(self.metrics),
            "versions": dict(self.versions),
            "files": dict(files),
        }

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


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw[key]
    if not isinstance(value, str) or not value:
        raise BundleError(f"a manifest's {key} must be a text, however: {value!r}")
    return value
