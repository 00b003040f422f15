"""Labels as their topic carries them: JSON, decoded with a reason for each that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.columns import Reason, Reject, joined_rejects, moved_rejects
from engine.hashing import hash_strings
from engine.records import Record
from engine.values import to_text

_MAX_LENGTH = 256

_RULE = (
    'a label must be JSON such as {"event_id": "…", "fraud": true, '
    '"known_at": "2026-01-31T12:00:00Z", "source": "…", "kind": "chargeback"}'
)


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


class LabelDecoder:
    """Decodes batches of labels.

    Args:
        max_bytes: the largest label.
        max_future_ms: how far the time it became known may lie ahead of its arrival.
    """

    def __init__(self, max_bytes: int, max_future_ms: int) -> None:
        self._max_bytes, self._max_future_ms = max_bytes, max_future_ms
        self._decode = msgspec.json.Decoder(Label).decode

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


def _known_ms(label: Label, published_ms: int) -> int:
    known_at = label.known_at
    if known_at is None:
        return published_ms
    aware = known_at if known_at.tzinfo is not None else known_at.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)
