"""Labels: what an event turned out to be, told days later, on a topic of their own.

A label names its event. It finds the event's account and entities in what was kept of the event
when it was scored (:func:`entries_of`), and adds to the buckets of the time it became known.
A later label for the same event replaces the earlier one: it adds the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.additions import Labels, amounts_of
from engine.columns import Columns, Reason, Reject
from engine.label_decode import DecodedLabels, LabelDecoder
from engine.schema import Schema
from engine.shared import SharedEntity, kept_column, kept_columns, kept_features

_SHOWN = 60

#: What is known of a past event.
_UNKNOWN, _GENUINE, _FRAUD = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Found:
    """What labels come to once their events are found.

    Args:
        labels: what is added to buckets, ``k`` of them, in the order of the batch.
        rows: the place in the batch of each; int64 ``[k]``.
        changed: event hash to its new entry.
        rejects: labels whose event cannot be found, or that cannot be.
        repeated: how many labels said what was known already.
    """

    labels: Labels
    rows: NDArray[np.int64]
    changed: Mapping[int, bytes]
    rejects: list[Reject]
    repeated: int


class LabelReader:
    """Reads labels, and keeps of events what labels need.

    Args:
        schema: what an event looks like.
        shared: the kinds of entity.
        max_bytes: the largest label.
        max_future_ms: how far the time it became known may lie ahead of its arrival.
    """

    def __init__(
        self, schema: Schema, shared: Sequence[SharedEntity], max_bytes: int, max_future_ms: int
    ) -> None:
        self._schema = schema
        self._decoder = LabelDecoder(max_bytes, max_future_ms)
        takers = [each for each in shared if each.takes_labels]
        self._fields = sorted({each.field for each in takers})
        self._kept = kept_features(takers)
        self._record = np.dtype(
            [
                ("event_time_ms", "<i8"),
                ("known_ms", "<i8"),
                ("amount", "<f4"),
                ("found", "u1"),
                ("entities", "<i8", (len(self._fields),)),
                ("kept", "<f4", (len(self._kept),)),
            ]
        )

    @property
    def is_needed(self) -> bool:
        """Whether labels add to anything."""
        return bool(self._fields)

    def decode(
        self, values: Sequence[bytes | None], published_ms: Sequence[int], received_ms: int
    ) -> DecodedLabels:
        """Decode a batch of records. See :meth:`LabelDecoder.decode`."""
        return self._decoder.decode(values, published_ms, received_ms)

    def entries_of(
        self,
        columns: Columns,
        positive: NDArray[np.float32] | None = None,
        known_ms: NDArray[np.int64] | None = None,
    ) -> list[bytes]:
        """Return what is to be kept of ``n`` events so that labels can be added.

        Args:
            columns: the events, with their kept features.
            positive: the labels that they have already: 1 for fraud, 0 for none, NaN for no
                label; float32 ``[n]``.
            known_ms: when each of these became known; int64 ``[n]``.
        """
        entries = np.zeros(len(columns), dtype=self._record)
        entries["event_time_ms"] = columns.event_time_ms
        entries["amount"] = amounts_of(self._schema, columns)
        for at, name in enumerate(self._fields):
            entries["entities"][:, at] = columns.values[name]
        for at, name in enumerate(self._kept):
            entries["kept"][:, at] = columns.values[kept_column(name)]
        if positive is not None and known_ms is not None:
            found = ~np.isnan(positive)
            entries["found"][found] = np.where(positive[found] > 0.5, _FRAUD, _GENUINE)
            entries["known_ms"][found] = known_ms[found]
        return [entry.tobytes() for entry in entries]

    def find(self, decoded: DecodedLabels, entries: Mapping[int, bytes | None]) -> Found:
        """Return what labels add, given what was kept of their events.

        Args:
            decoded: the labels.
            entries: each event's hash to its entry; None for an unknown one.
        """
        known = {event: self._load(entry) for event, entry in entries.items() if entry is not None}
        before = {event: entry.tobytes() for event, entry in known.items()}
        rejects = list(decoded.rejects)
        kept: list[tuple[int, float, float]] = []
        repeated = 0
        for at, (event, fraud, known_ms) in enumerate(
            zip(
                decoded.events.tolist(),
                decoded.fraud.tolist(),
                decoded.known_ms.tolist(),
                strict=True,
            )
        ):
            entry = known.get(event)
            fault = _fault(decoded, at, entry)
            if fault is not None or entry is None:
                rejects += [] if fault is None else [fault]
                continue
            change = _change(entry, fraud, known_ms)
            if change is None:
                repeated += 1
            else:
                kept.append((at, *change))
        return Found(
            labels=self._labels(decoded, known, kept),
            rows=decoded.rows[[at for at, *_ in kept]],
            changed={
                event: entry.tobytes()
                for event, entry in known.items()
                if entry.tobytes() != before[event]
            },
            rejects=sorted(rejects, key=lambda each: each.row),
            repeated=repeated,
        )

    def _labels(
        self,
        decoded: DecodedLabels,
        known: Mapping[int, NDArray[Any]],
        kept: Sequence[tuple[int, float, float]],
    ) -> Labels:
        places = np.array([at for at, _, _ in kept], dtype=np.int64)
        entries = [known[event] for event in decoded.events[places].tolist()]
        table = np.concatenate(entries) if entries else np.zeros(0, dtype=self._record)
        return Labels(
            entities={name: table["entities"][:, at] for at, name in enumerate(self._fields)},
            amount=table["amount"],
            known_ms=decoded.known_ms[places],
            known=np.array([known for _, known, _ in kept], dtype=np.float32),
            positive=np.array([positive for _, _, positive in kept], dtype=np.float32),
            kept=kept_columns(self._kept, table["kept"]),
        )

    def _load(self, entry: bytes) -> NDArray[Any]:
        return np.frombuffer(bytearray(entry), dtype=self._record)


def _fault(decoded: DecodedLabels, at: int, entry: NDArray[Any] | None) -> Reject | None:
    row, event_id = int(decoded.rows[at]), decoded.event_ids[at][:_SHOWN]
    known_ms = int(decoded.known_ms[at])
    if entry is None:
        detail = (
            f"a label's event must have been scored, and not too long ago, however: {event_id!r} "
            "is not known; see labels.keep_days"
        )
        return Reject(row, Reason.UNKNOWN_EVENT, detail)
    if known_ms < int(entry["event_time_ms"][0]):
        detail = (
            f"a label must become known after its event, however: known_at is "
            f"{(int(entry['event_time_ms'][0]) - known_ms) / 1000:,.0f} s before {event_id!r}"
        )
        return Reject(row, Reason.BEFORE_EVENT, detail)
    if entry["found"][0] != _UNKNOWN and known_ms < int(entry["known_ms"][0]):
        detail = (
            "a label that replaces another must become known later, however: that of "
            f"{event_id!r} became known {(int(entry['known_ms'][0]) - known_ms) / 1000:,.0f} s "
            "before the one there is"
        )
        return Reject(row, Reason.OUTDATED, detail)
    return None


def _change(entry: NDArray[Any], fraud: bool, known_ms: int) -> tuple[float, float] | None:
    """Note a label in its event's entry; return what it adds to ``known`` and ``positive``."""
    before, after = int(entry["found"][0]), _FRAUD if fraud else _GENUINE
    if before == after:
        return None
    entry["found"], entry["known_ms"] = after, known_ms
    return float(before == _UNKNOWN), float(after == _FRAUD) - float(before == _FRAUD)
