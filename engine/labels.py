"""Labels: what an event turned out to be, told days later, on a topic of their own.

A label names its event. It finds the event's account and entities in what was kept of the event
when it was scored (:func:`entries_of`), and adds to the buckets of the time it became known.
A later label for the same event replaces the earlier one: it adds the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.additions import Labels, amounts_of
from engine.columns import Columns, Reason, Reject, joined_rejects, moved_rejects
from engine.hashing import hash_strings
from engine.records import Record
from engine.schema import Schema
from engine.shared import SharedEntity
from engine.values import to_text

_MAX_LENGTH = 256
_SHOWN = 60

#: What is known of a past event.
_UNKNOWN, _GENUINE, _FRAUD = 0, 1, 2


class LabelKind(StrEnum):
    """Who found out."""

    CHARGEBACK = "chargeback"
    ANALYST = "analyst"
    CUSTOMER = "customer"


class Label(msgspec.Struct, frozen=True, omit_defaults=True):
    """A label as its topic carries it.

    Args:
        event_id: the event's id.
        fraud: what it turned out to be.
        known_at: when that became known; when the label was published if not said.
        source: who said so.
        kind: the kind of the finding.
    """

    event_id: str | int
    fraud: bool
    known_at: datetime | None = None
    source: str = ""
    kind: LabelKind = LabelKind.ANALYST


def label_record(label: Label) -> Record:
    """Return a label as its topic carries it; the key is the event's id."""
    return Record(to_text(label.event_id).encode(), msgspec.json.encode(label))


@dataclass(frozen=True, slots=True)
class DecodedLabels:
    """What became of a batch of ``n`` labels' records.

    Args:
        rows: the places in the batch of the labels that could be read; int64 ``[m]``.
        events: their events' hashes; int64 ``[m]``.
        event_ids: their events' ids.
        fraud: bool ``[m]``.
        known_ms: when each became known, in ms since 1970; int64 ``[m]``.
        rejects: the others.
    """

    rows: NDArray[np.int64]
    events: NDArray[np.int64]
    event_ids: list[str]
    fraud: NDArray[np.bool_]
    known_ms: NDArray[np.int64]
    rejects: list[Reject]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def time_ms(self) -> NDArray[np.int64]:
        """When each became known; int64 ``[m]``."""
        return self.known_ms

    def part(self, keep: NDArray[np.bool_]) -> Self:
        """Return what became of some of the records, as if only these had been decoded.

        Args:
            keep: which records; bool ``[n]``.
        """
        mine = keep[self.rows]
        return type(self)(
            rows=(np.cumsum(keep) - 1)[self.rows[mine]],
            events=self.events[mine],
            event_ids=[self.event_ids[at] for at in np.flatnonzero(mine).tolist()],
            fraud=self.fraud[mine],
            known_ms=self.known_ms[mine],
            rejects=moved_rejects(self, keep),
        )

    @classmethod
    def joined(cls, parts: Sequence[Self], sizes: Sequence[int]) -> Self:
        """Return what became of one or more batches as one; ``sizes`` are their records."""
        starts = np.cumsum([0, *sizes]).tolist()
        return cls(
            rows=np.concatenate([each.rows + at for each, at in zip(parts, starts, strict=False)]),
            events=np.concatenate([each.events for each in parts]),
            event_ids=[event_id for each in parts for event_id in each.event_ids],
            fraud=np.concatenate([each.fraud for each in parts]),
            known_ms=np.concatenate([each.known_ms for each in parts]),
            rejects=joined_rejects(parts, starts),
        )


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
        self._max_bytes, self._max_future_ms = max_bytes, max_future_ms
        self._fields = sorted({each.field for each in shared if each.takes_labels})
        self._decode = msgspec.json.Decoder(Label).decode
        self._record = np.dtype(
            [
                ("event_time_ms", "<i8"),
                ("known_ms", "<i8"),
                ("amount", "<f4"),
                ("found", "u1"),
                ("entities", "<i8", (len(self._fields),)),
            ]
        )

    @property
    def is_needed(self) -> bool:
        """Whether labels add to anything."""
        return bool(self._fields)

    def decode(
        self, values: Sequence[bytes | None], published_ms: Sequence[int], received_ms: int
    ) -> DecodedLabels:
        """Decode a batch of records.

        Args:
            values: the records' values.
            published_ms: when each was published, in ms since 1970.
            received_ms: when they arrived.
        """
        read: list[tuple[int, Label, int]] = []
        rejects = []
        for row, value in enumerate(values):
            found = self._read(row, value)
            if isinstance(found, Label):
                known_ms = _known_ms(found, published_ms[row])
                fault = self._check(row, found, known_ms, received_ms)
                if fault is None:
                    read.append((row, found, known_ms))
                    continue
                found = fault
            rejects.append(found)
        event_ids = [to_text(label.event_id) for _, label, _ in read]
        return DecodedLabels(
            rows=np.array([row for row, _, _ in read], dtype=np.int64),
            events=hash_strings(event_ids),
            event_ids=event_ids,
            fraud=np.array([label.fraud for _, label, _ in read], dtype=np.bool_),
            known_ms=np.array([known_ms for _, _, known_ms in read], dtype=np.int64),
            rejects=rejects,
        )

    def entries_of(
        self,
        columns: Columns,
        positive: NDArray[np.float32] | None = None,
        known_ms: NDArray[np.int64] | None = None,
    ) -> list[bytes]:
        """Return what is to be kept of ``n`` events so that labels can be added.

        Args:
            columns: the events.
            positive: the labels that they have already: 1 for fraud, 0 for none, NaN for no
                label; float32 ``[n]``.
            known_ms: when each of these became known; int64 ``[n]``.
        """
        entries = np.zeros(len(columns), dtype=self._record)
        entries["event_time_ms"] = columns.event_time_ms
        entries["amount"] = amounts_of(self._schema, columns)
        for at, name in enumerate(self._fields):
            entries["entities"][:, at] = columns.values[name]
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
        )

    def _load(self, entry: bytes) -> NDArray[Any]:
        return np.frombuffer(bytearray(entry), dtype=self._record)

    def _read(self, row: int, value: bytes | None) -> Label | Reject:
        if not value:
            return Reject(row, Reason.TOMBSTONE, "a label must have a value, however: it has none")
        if len(value) > self._max_bytes:
            detail = f"a label must have at most {self._max_bytes:,} bytes, however: {len(value):,}"
            return Reject(row, Reason.TOO_LARGE, detail)
        try:
            return self._decode(value)
        except msgspec.ValidationError as error:
            missing = "missing required" in str(error)
            reason = Reason.MISSING_FIELD if missing else Reason.WRONG_TYPE
            return Reject(row, reason, f"{_RULE}, however: {error}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Reject(row, Reason.NOT_JSON, f"{_RULE}, however: {error}")

    def _check(self, row: int, label: Label, known_ms: int, received_ms: int) -> Reject | None:
        text = to_text(label.event_id)
        if not text:
            return Reject(row, Reason.EMPTY, "a label's event_id must not be empty, however: it is")
        if len(text) > _MAX_LENGTH:
            detail = f"an event_id must have at most {_MAX_LENGTH} characters, however: {len(text)}"
            return Reject(row, Reason.TOO_LONG, detail)
        if known_ms < 0:
            detail = f"known_at must not lie before 1970, however: {label.known_at}"
            return Reject(row, Reason.BEFORE_1970, detail)
        if known_ms > received_ms + self._max_future_ms:
            detail = (
                f"known_at must lie at most {self._max_future_ms / 1000:g} s ahead of the label's "
                f"arrival, however: {label.known_at} is {(known_ms - received_ms) / 1000:,.0f} s "
                "ahead"
            )
            return Reject(row, Reason.IN_THE_FUTURE, detail)
        return None


_RULE = (
    'a label must be JSON such as {"event_id": "…", "fraud": true, '
    '"known_at": "2026-01-31T12:00:00Z", "source": "…", "kind": "chargeback"}'
)


def _known_ms(label: Label, published_ms: int) -> int:
    known_at = label.known_at
    if known_at is None:
        return published_ms
    aware = known_at if known_at.tzinfo is not None else known_at.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


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
