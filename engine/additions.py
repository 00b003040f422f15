"""What events and labels add to the buckets of the entities they touch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.buckets import Additions
from engine.columns import Columns
from engine.hashing import hash_strings
from engine.schema import Schema
from engine.shared import Measure, Quantity, SharedEntity, Source, kept_column

#: Amounts beyond it, either way, are added as this: float32 holds 100 million of it.
LARGEST = np.float32(1e30)


@dataclass(frozen=True, slots=True)
class Labels:
    """What became known of ``n`` events.

    The first label of an event has ``known`` 1 and ``positive`` 0 or 1. One that replaces another
    has ``known`` 0, and the difference in ``positive``.

    Args:
        entities: a schema's identifier to the hash that each event has there; int64 ``[n]``.
        amount: the events' amounts; float32 ``[n]``.
        known_ms: when it became known, in ms since 1970; int64 ``[n]``.
        known: float32 ``[n]``.
        positive: float32 ``[n]``.
        kept: the events' kept features (:func:`engine.shared.kept_column`); float32 ``[n]`` each.
    """

    entities: Mapping[str, NDArray[np.int64]]
    amount: NDArray[np.float32]
    known_ms: NDArray[np.int64]
    known: NDArray[np.float32]
    positive: NDArray[np.float32]
    kept: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.known_ms)

    @classmethod
    def of(
        cls,
        schema: Schema,
        columns: Columns,
        positive: NDArray[np.float32],
        known_ms: NDArray[np.int64],
    ) -> Labels:
        """Return the labels of a history's events.

        Args:
            schema: what an event looks like.
            columns: ``n`` events.
            positive: 1 for fraud, 0 for none, NaN for no label; float32 ``[n]``.
            known_ms: when each became known; int64 ``[n]``.
        """
        some = ~np.isnan(positive)
        fields = (schema.account, *schema.entities)
        return cls(
            entities={each.name: columns.values[each.name][some] for each in fields},
            amount=amounts_of(schema, columns)[some],
            known_ms=known_ms[some],
            known=np.ones(int(some.sum()), dtype=np.float32),
            positive=(positive[some] > 0.5).astype(np.float32),
            kept={name: values[some] for name, values in _kept(columns).items()},
        )

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Labels:
        """Return some of the labels."""
        return Labels(
            {name: hashes[index] for name, hashes in self.entities.items()},
            self.amount[index],
            self.known_ms[index],
            self.known[index],
            self.positive[index],
            {name: values[index] for name, values in self.kept.items()},
        )

    def in_order(self) -> Labels:
        """Return them in the order in which they became known."""
        return self.take(np.argsort(self.known_ms, kind="stable"))

    def joined(self, more: Labels) -> Labels:
        """Return these and then more labels."""
        return Labels(
            {
                name: np.concatenate([hashes, more.entities[name]])
                for name, hashes in self.entities.items()
            },
            np.concatenate([self.amount, more.amount]),
            np.concatenate([self.known_ms, more.known_ms]),
            np.concatenate([self.known, more.known]),
            np.concatenate([self.positive, more.positive]),
            {name: np.concatenate([values, more.kept[name]]) for name, values in self.kept.items()},
        )


def amounts_of(schema: Schema, columns: Columns) -> NDArray[np.float32]:
    """Return the events' amounts; zeros for a schema without one. float32 ``[n]``.

    They are cut off at :data:`LARGEST`, so that no event makes its entities' sums infinite.
    """
    if schema.amount is None:
        return np.zeros(len(columns), dtype=np.float32)
    amounts: NDArray[np.float32] = columns.values[schema.amount.name]
    return np.clip(amounts, -LARGEST, LARGEST)


def present(schema: Schema, shared: SharedEntity, hashes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which events have an entity: all, or all that do not have the field's default.

    Args:
        schema: what an event looks like.
        shared: the kind of entity.
        hashes: the events' values of its field; int64 ``[n]``.
    """
    field = next(each for each in schema.streamed if each.name == shared.field)
    if field.required or field.default is None:
        return np.ones(len(hashes), dtype=np.bool_)
    found: NDArray[np.bool_] = hashes != hash_strings([str(field.default)])[0]
    return found


def of_events(
    schema: Schema, shared: SharedEntity, columns: Columns, counted: NDArray[np.bool_]
) -> Additions:
    """Return what events add to the buckets of their time.

    Args:
        schema: what an event looks like.
        shared: the kind of entity.
        columns: ``n`` events.
        counted: which of them count: repeated and failed ones do not; bool ``[n]``.
    """
    hashes = columns.values[shared.field]
    amount = amounts_of(schema, columns)
    counts = counted & present(schema, shared, hashes)
    kept = _kept(columns)
    parts = [_of_event(each, amount, kept) for each in shared.quantities]
    amounts = np.stack(parts, axis=1) * counts[:, None]
    return Additions.summed(hashes, shared.bucket(columns.event_time_ms), amounts)


def of_labels(schema: Schema, shared: SharedEntity, labels: Labels) -> Additions:
    """Return what labels add to the buckets of the time they became known."""
    hashes = labels.entities[shared.field]
    counts = present(schema, shared, hashes)
    parts = [_of_label(each, labels) for each in shared.quantities]
    amounts = np.stack(parts, axis=1) * counts[:, None]
    return Additions.summed(hashes, shared.bucket(labels.known_ms), amounts)


def _kept(columns: Columns) -> dict[str, NDArray[np.float32]]:
    prefix = kept_column("")
    return {name: part for name, part in columns.values.items() if name.startswith(prefix)}


def _of_event(
    quantity: Quantity, amount: NDArray[np.float32], kept: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float32]:
    if quantity.source is not Source.EVENT:
        return np.zeros_like(amount)
    grown = np.ones_like(amount)
    if quantity.measure is Measure.AMOUNT:
        grown = amount
    elif quantity.measure is Measure.VALUE:
        grown = np.clip(kept[kept_column(str(quantity.feature))], -LARGEST, LARGEST)
    return grown * _within(quantity, amount, kept)


def _of_label(quantity: Quantity, labels: Labels) -> NDArray[np.float32]:
    if quantity.source is not Source.LABEL:
        return np.zeros_like(labels.amount)
    return _grown(quantity.measure, labels) * _within(quantity, labels.amount, labels.kept)


def _grown(measure: Measure, labels: Labels) -> NDArray[np.float32]:
    match measure:
        case Measure.COUNT:
            return labels.known
        case Measure.AMOUNT:
            return labels.known * labels.amount
        case Measure.VALUE:
            return np.zeros_like(labels.amount)
        case Measure.POSITIVE:
            return labels.positive
        case Measure.NEGATIVE:
            return labels.known - labels.positive


def _within(
    quantity: Quantity, amount: NDArray[np.float32], kept: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return 1 for each event that a quantity counts, else 0; float32 ``[n]``."""
    inside = np.ones(len(amount), dtype=np.bool_)
    if quantity.amount_at_most is not None:
        inside &= amount <= np.float32(quantity.amount_at_most)
    if quantity.feature is not None:
        values = kept[kept_column(quantity.feature)]
        if quantity.feature_above is not None:
            inside &= values > np.float32(quantity.feature_above)
        if quantity.feature_at_most is not None:
            inside &= values <= np.float32(quantity.feature_at_most)
    return inside.astype(np.float32)
