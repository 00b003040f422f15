"""Entities that events of many accounts share, and what is added up of them in buckets of time.

A terminal, a merchant, a device or an address is seen from many partitions of the stream at once,
so nothing of it is ever overwritten: events and labels only add to the bucket of their time. A
score reads closed buckets only (:meth:`SharedEntity.closed`), and so does not depend on the order
in which partitions are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from hashlib import sha256
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.errors import BundleError

_E = TypeVar("_E", bound=StrEnum)

#: Every graph input that is made of buckets has a name that begins so.
INPUT_PREFIX = "shared_"

_MAX_BUCKETS = 1_000

_BOUNDS = ("amount_at_most", "feature_above", "feature_at_most")


class Source(StrEnum):
    """What adds to a quantity: each accepted event, or each label, when it becomes known."""

    EVENT = "event"
    LABEL = "label"


class Measure(StrEnum):
    """What is added: one, the event's amount, the value of one of the model's columns, or one
    where the label says fraud, or genuine.
    """

    COUNT = "count"
    AMOUNT = "amount"
    VALUE = "value"
    POSITIVE = "positive"
    NEGATIVE = "negative"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One of the sums that each bucket holds.

    Args:
        name: what features call it.
        source: what adds to it.
        measure: what is added.
        amount_at_most: only of events whose amount is at most this; None for all.
        feature: the name of one of the model's columns: what is added up, where the measure is a
            value; else it decides, too.
        feature_above, feature_at_most: only of events whose column is above this, and at most
            this; None for no such bound.
    """

    name: str
    source: Source
    measure: Measure
    amount_at_most: float | None = None
    feature: str | None = None
    feature_above: float | None = None
    feature_at_most: float | None = None

    def __post_init__(self) -> None:
        of_labels = (Measure.POSITIVE, Measure.NEGATIVE)
        if self.source is Source.EVENT and self.measure in of_labels:
            raise BundleError(
                "a quantity of events must be a count, an amount or a value, however: "
                f"{self.name} is {self.measure}, which only labels are; give it source = label"
            )
        if self.measure is Measure.VALUE and (
            self.feature is None or self.source is not Source.EVENT
        ):
            raise BundleError(
                "a quantity that is a value must have a feature, of events, however: "
                f"{self.name} has feature={self.feature!r} and source={self.source}"
            )
        is_bounded = self.feature_above is not None or self.feature_at_most is not None
        needs_bound = self.feature is not None and self.measure is not Measure.VALUE
        if (is_bounded and self.feature is None) or (needs_bound and not is_bounded):
            raise BundleError(
                "a quantity must have a feature and its bound together, however: "
                f"{self.name} has feature={self.feature!r}, feature_above={self.feature_above}, "
                f"feature_at_most={self.feature_at_most}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return it as the manifest holds it."""
        return {
            "name": self.name,
            "source": str(self.source),
            "measure": str(self.measure),
            "amount_at_most": self.amount_at_most,
            "feature": self.feature,
            "feature_above": self.feature_above,
            "feature_at_most": self.feature_at_most,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read it from a manifest or from TOML. Raises :class:`BundleError`."""
        _refuse_unknown("a quantity", raw, {each.name for each in fields(cls)})
        try:
            feature = raw.get("feature")
            return cls(
                name=str(raw["name"]),
                source=_choice(Source, raw["source"], "a quantity's source"),
                measure=_choice(Measure, raw["measure"], "a quantity's measure"),
                feature=None if feature is None else str(feature),
                **{name: _bound(raw.get(name)) for name in _BOUNDS},
            )
        except KeyError as error:
            raise BundleError(f"a quantity must have {error}, however: {dict(raw)}") from None


@dataclass(frozen=True, slots=True)
class SharedEntity:
    """A kind of entity, and the graph's input made of its buckets.

    Args:
        name: what features call it.
        field: the schema's identifier that tells one entity from another.
        bucket_s: the length of one bucket, in seconds.
        buckets: how many closed buckets the graph is given.
        grace_s: how long after its end a bucket closes, in seconds: as long as events and labels
            of one time may take to be read from all partitions.
        quantities: what each bucket adds up, in order.
    """

    name: str
    field: str
    bucket_s: int
    buckets: int
    grace_s: int
    quantities: tuple[Quantity, ...]

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise BundleError(
                "a shared entity's name must be letters, digits and underscores, however: "
                f"{self.name!r}"
            )
        if self.bucket_s < 1 or not 1 <= self.buckets <= _MAX_BUCKETS:
            raise BundleError(
                f"a shared entity must have bucket_s >= 1 and 1 to {_MAX_BUCKETS} buckets, "
                f"however: {self.name} has bucket_s={self.bucket_s}, buckets={self.buckets}"
            )
        if not 0 <= self.grace_s <= self.bucket_s:
            raise BundleError(
                "a bucket's grace must lie between 0 and its length, however: "
                f"{self.name} has grace_s={self.grace_s}, bucket_s={self.bucket_s}"
            )
        names = [each.name for each in self.quantities]
        if not names or len(set(names)) != len(names):
            raise BundleError(
                "a shared entity must have quantities, each with a name of its own, however: "
                f"{self.name} has {names}"
            )

    @property
    def input(self) -> str:
        """The graph's input: float32 ``[batch, buckets, quantities]``, latest closed first."""
        return INPUT_PREFIX + self.name

    @property
    def takes_labels(self) -> bool:
        """Whether labels add to a quantity."""
        return any(each.source is Source.LABEL for each in self.quantities)

    @property
    def digest(self) -> str:
        """A digest of all that decides what a stored bucket means."""
        said = json.dumps({**self.to_dict(), "grace_s": None}, sort_keys=True)
        return sha256(said.encode()).hexdigest()[:8]

    def bucket(self, time_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the bucket that each time lies in, counted from 1970; any shape."""
        return time_ms // (self.bucket_s * 1000)

    def closed(self, time_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the latest bucket that an event of each time may read; any shape.

        It ended at least :attr:`grace_s` before.
        """
        return (time_ms - self.grace_s * 1000) // (self.bucket_s * 1000) - 1

    def to_dict(self) -> dict[str, Any]:
        """Return it as the manifest holds it."""
        return {
            "name": self.name,
            "field": self.field,
            "bucket_s": self.bucket_s,
            "buckets": self.buckets,
            "grace_s": self.grace_s,
            "quantities": [each.to_dict() for each in self.quantities],
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read it from a manifest. Raises :class:`BundleError`."""
        names = {"name", "field", "bucket_s", "buckets", "grace_s", "quantities"}
        _refuse_unknown("a shared entity", raw, names)
        try:
            return cls(
                name=str(raw["name"]),
                field=str(raw["field"]),
                bucket_s=int(raw["bucket_s"]),
                buckets=int(raw["buckets"]),
                grace_s=int(raw["grace_s"]),
                quantities=tuple(Quantity.from_dict(each) for each in raw["quantities"]),
            )
        except KeyError as error:
            raise BundleError(f"a shared entity must have {error}, however: {dict(raw)}") from None


def kept_features(shared: Iterable[SharedEntity]) -> tuple[str, ...]:
    """Return the model's columns that decide what is added, each once, in order."""
    named = [quantity.feature for each in shared for quantity in each.quantities]
    return tuple(dict.fromkeys(name for name in named if name is not None))


def kept_column(feature: str) -> str:
    """Return where :attr:`Columns.values` has a kept feature, beside the event's fields."""
    return f"feature:{feature}"


def kept_columns(
    features: Iterable[str], values: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Return kept features as :attr:`Columns.values` has them: from float32 ``[n, k]``."""
    return {kept_column(name): values[:, at] for at, name in enumerate(features)}


def _bound(value: Any) -> float | None:
    return None if value is None else float(value)


def _refuse_unknown(what: str, raw: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(raw) - known)
    if unknown:
        raise BundleError(f"{what} may have {', '.join(sorted(known))}, however: {unknown}")


def _choice(kind: type[_E], value: Any, what: str) -> _E:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(kind)
        raise BundleError(f"{what} must be one of {known}, however: {value!r}") from None
