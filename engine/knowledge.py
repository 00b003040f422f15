"""What is known of shared entities at each moment of a history: their buckets, in memory.

A history goes through :class:`Knowledge` segment by segment: read, score, add. Within a segment
all events read the same closed buckets, so that it is read at once and nothing in it is seen too
early. Training, ``riskstream score`` and backfills all walk histories this way; the stream keeps
the same rings in its store.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import additions as adding
from engine import buckets as ring
from engine.additions import Labels
from engine.buckets import Additions
from engine.columns import Columns
from engine.errors import BundleError
from engine.schema import FieldType, Schema
from engine.shared import SharedEntity


class RingTable:
    """The rings of all entities of one kind."""

    def __init__(self, shared: SharedEntity) -> None:
        self.shared = shared
        self._places: dict[int, int] = {}
        self._rings = np.zeros(1024, dtype=ring.record(shared))

    def read(
        self, entities: NDArray[np.int64], event_time_ms: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the closed buckets of each event's entity: float32 ``[n, buckets, quantities]``.

        Args:
            entities: hashes; int64 ``[n]``.
            event_time_ms: int64 ``[n]``.
        """
        different, index = np.unique(entities, return_inverse=True)
        # First, since it may make room.
        places = self._find(different)[index]
        return ring.read(self.shared, self._rings[places], event_time_ms)

    def add(self, additions: Additions) -> None:
        """Add to buckets."""
        different, index = np.unique(additions.entities, return_inverse=True)
        places = self._find(different)[index]
        ring.add(self.shared, self._rings, places, additions)

    def rings(self) -> Iterator[tuple[int, bytes]]:
        """Yield each entity's hash and its encoded ring."""
        for entity, place in self._places.items():
            yield entity, self._rings[place].tobytes()

    def put(self, entity: int, encoded: bytes) -> None:
        """Set an entity's ring."""
        (place,) = self._find(np.array([entity], dtype=np.int64))
        self._rings[place] = np.frombuffer(encoded, dtype=self._rings.dtype)[0]

    def encoded(self, entities: NDArray[np.int64]) -> list[bytes | None]:
        """Return the encoded rings of entities, in their order; None for an unknown one."""
        places = [self._places.get(each) for each in entities.tolist()]
        return [None if place is None else self._rings[place].tobytes() for place in places]

    def _find(self, entities: NDArray[np.int64]) -> NDArray[np.int64]:
        places = self._places
        found = [places.setdefault(each, len(places)) for each in entities.tolist()]
        if len(places) > len(self._rings):
            more = np.zeros(max(len(places), 2 * len(self._rings)), dtype=self._rings.dtype)
            more[: len(self._rings)] = self._rings
            self._rings = more
        return np.array(found, dtype=np.int64)


class Knowledge:
    """The buckets of every kind of entity, and the labels that are not known yet.

    Args:
        schema: what an event looks like.
        shared: the kinds of entity.

    Raises:
        BundleError: a kind's field is no identifier of the schema.
    """

    def __init__(self, schema: Schema, shared: Sequence[SharedEntity]) -> None:
        check_fields(schema, shared)
        self._schema = schema
        self.tables = [RingTable(each) for each in shared]
        self._pending: Labels | None = None

    def segments(self, event_time_ms: NDArray[np.int64]) -> Iterable[slice]:
        """Cut events, in order, where what they may read changes.

        Args:
            event_time_ms: int64 ``[n]``.

        Returns:
            Slices that together hold each event once.
        """
        n = len(event_time_ms)
        cuts = np.zeros(max(n - 1, 0), dtype=np.bool_)
        for table in self.tables:
            cuts |= np.diff(table.shared.closed(event_time_ms)) != 0
        edges = [0, *(np.flatnonzero(cuts) + 1).tolist(), n]
        return [slice(a, b) for a, b in itertools.pairwise(edges)]

    def read(self, columns: Columns) -> dict[str, NDArray[np.float32]]:
        """Return the graph's inputs for a segment's events.

        First adds what labels have become known by the first event.

        Returns:
            For each kind its input's name to float32 ``[n, buckets, quantities]``.
        """
        if len(columns) and self.tables:
            self._learn(int(columns.event_time_ms.max()))
        found = {}
        for table in self.tables:
            hashes = columns.values[table.shared.field]
            buckets = table.read(hashes, columns.event_time_ms)
            buckets[~adding.present(self._schema, table.shared, hashes)] = 0
            found[table.shared.input] = buckets
        return found

    def add_events(self, columns: Columns, counted: NDArray[np.bool_]) -> None:
        """Add a segment's events to the buckets of their time.

        Args:
            columns: ``n`` events, with their kept features.
            counted: which of them count; bool ``[n]``.
        """
        for table in self.tables:
            table.add(adding.of_events(self._schema, table.shared, columns, counted))

    def add_labels(self, labels: Labels) -> None:
        """Take in labels, which are held back until they are known."""
        if any(table.shared.takes_labels for table in self.tables):
            pending = labels if self._pending is None else self._pending.joined(labels)
            self._pending = pending.in_order()

    @property
    def pending(self) -> Labels | None:
        """The labels that are not known yet."""
        return self._pending

    def _learn(self, now_ms: int) -> None:
        if self._pending is None:
            return
        until = int(np.searchsorted(self._pending.known_ms, now_ms, side="right"))
        if until == 0:
            return
        labels = self._pending.take(slice(0, until))
        self._pending = self._pending.take(slice(until, len(self._pending)))
        for table in self.tables:
            table.add(adding.of_labels(self._schema, table.shared, labels))


def check_fields(schema: Schema, shared: Sequence[SharedEntity]) -> None:
    """Raise :class:`BundleError` where a kind of entity does not fit the schema."""
    identifiers = [each.name for each in schema.streamed if each.type is FieldType.IDENTIFIER]
    for each in shared:
        if each.field not in identifiers:
            raise BundleError(
                f"a shared entity's field must be one of {', '.join(identifiers)}, however: "
                f"{each.name} has {each.field!r}"
            )
    names = [each.name for each in shared]
    if len(set(names)) != len(names):
        raise BundleError(f"each shared entity must have a name of its own, however: {names}")
    measures: list[Any] = [
        (each.name, quantity.name)
        for each in shared
        for quantity in each.quantities
        if schema.amount is None
        and (quantity.measure == "amount" or quantity.amount_at_most is not None)
    ]
    if measures:
        raise BundleError(
            f"a quantity of amounts must have a schema with an amount, however: {measures}"
        )
