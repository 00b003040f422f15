"""Closed buckets of shared entities that this worker read last, so as not to read them again.

A closed bucket does not change: whoever could add to it has gone on. So what an event was given of
an entity is what every later event is given, until the next bucket closes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.shared import SharedEntity

#: The place of what is not known: nothing was closed when it was read.
_NOWHERE = 0
_NEVER = -(2**62)


class HotBuckets:
    """What events were given of the entities of one kind.

    Where there is no room left, all is forgotten: what is in use is soon known again.

    Args:
        shared: the kind of entity.
        most: the number of entities; 0 for none.
    """

    def __init__(self, shared: SharedEntity, most: int) -> None:
        self._shape = (shared.buckets, len(shared.quantities))
        self._most = most
        self.forget()

    def __len__(self) -> int:
        return len(self._places)

    def forget(self) -> None:
        """Know nothing."""
        self._places: dict[int, int] = {}
        self._buckets = np.zeros((1, *self._shape), dtype=np.float32)
        self._closed = np.full(1, _NEVER, dtype=np.int64)

    def get(
        self, entities: NDArray[np.int64], closed: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return what events are given, and which of them cannot be told.

        Args:
            entities: each event's entity, by its hash; int64 ``[n]``.
            closed: the latest bucket that is closed for each event; int64 ``[n]``.

        Returns:
            Float32 ``[n, buckets, quantities]``, and bool ``[n]``: where it must be read.
        """
        get = self._places.get
        places = np.array([get(each, _NOWHERE) for each in entities.tolist()], dtype=np.int64)
        return self._buckets[places], self._closed[places] != closed

    def put(
        self,
        entities: NDArray[np.int64],
        closed: NDArray[np.int64],
        buckets: NDArray[np.float32],
    ) -> None:
        """Keep what events were given, unless what is known is of later ones.

        Args:
            entities: int64 ``[n]``.
            closed: int64 ``[n]``.
            buckets: float32 ``[n, buckets, quantities]``.
        """
        if not self._most:
            return
        different = len(set(entities.tolist()))
        if len(self._places) + different > self._most:
            self.forget()
        if different > self._most:
            return
        # An entity's latest event last: of several at one place, numpy keeps the last.
        order = np.argsort(closed, kind="stable")
        places = self._place(entities[order])
        later = closed[order] >= self._closed[places]
        kept = places[later]
        self._buckets[kept] = buckets[order][later]
        self._closed[kept] = closed[order][later]

    def _place(self, entities: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the place of each entity, made where there is none; int64 ``[n]``."""
        places = self._places
        found = [places.setdefault(each, len(places) + 1) for each in entities.tolist()]
        if len(places) >= len(self._closed):
            room = max(len(places) + 1, min(2 * len(self._closed), self._most + 1))
            more = room - len(self._closed)
            self._buckets = np.pad(self._buckets, ((0, more), (0, 0), (0, 0)))
            self._closed = np.pad(self._closed, (0, more), constant_values=_NEVER)
        return np.array(found, dtype=np.int64)
