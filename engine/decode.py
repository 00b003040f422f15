"""Bytes to typed columns, once, with a reason for each event that cannot be scored.

Good events take a compiled path (msgspec, one pass from bytes to typed values). An event that it
refuses is read again by the plain path of :mod:`engine.explain`, which finds the reason. What no
type can say (bounds, lengths, times) is checked on whole columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.checks import Faults, check_numbers, check_texts, check_times
from engine.columns import Columns, Decoded, Reason, Reject
from engine.explain import explain
from engine.hashing import hash_strings
from engine.schema import Field, FieldType, Schema
from engine.structs import EventType
from engine.values import converter

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Limits:
    """What an event may not exceed.

    Args:
        max_bytes: its size in bytes.
        max_future_ms: how far its time may lie ahead of its arrival, in milliseconds.
    """

    max_bytes: int = 262_144
    max_future_ms: int = 300_000


class Decoder:
    """Decodes batches of events of one schema.

    Args:
        schema: what an event looks like, with the paths of this stream.
        limits: what an event may not exceed.
    """

    def __init__(self, schema: Schema, limits: Limits | None = None) -> None:
        self.schema = schema
        self.limits = limits or Limits()
        self._fields = schema.streamed
        self._type = EventType.of(self._fields)
        self._convert = [converter(field) for field in self._fields]

    def decode(
        self,
        values: Sequence[bytes | None],
        received_ms: int,
        keys: Sequence[bytes | None] | None = None,
    ) -> Decoded:
        """Decode a batch of records.

        Args:
            values: the records' values; None is a tombstone.
            received_ms: when they arrived, in milliseconds since 1970.
            keys: the records' keys, each of which must be its event's account; None if they are
                not to be looked at.

        Returns:
            The events as columns, and the rejects. Each row is in exactly one of them.
        """
        rows, structs, rejects = self._parse(values)
        columns, faults = self._columns(rows, structs, received_ms)
        if keys is not None:
            for fault in _wrong_keys(columns, keys):
                faults.setdefault(fault.row, fault)
        if faults:
            columns = columns.take(~np.isin(columns.rows, list(faults)))
            rejects = sorted([*rejects, *faults.values()], key=lambda each: each.row)
        return Decoded(columns, rejects)

    def _parse(self, values: Sequence[bytes | None]) -> tuple[list[int], list[Any], list[Reject]]:
        decode, limit = self._type.decode, self.limits.max_bytes
        rows: list[int] = []
        structs: list[Any] = []
        rejects: list[Reject] = []
        for row, value in enumerate(values):
            if not value or len(value) > limit:
                rejects.append(_unread(row, value, limit))
                continue
            try:
                struct = decode(value)
                # The compiled path skips what no field names, so it may skip broken UTF-8.
                if not value.isascii():
                    value.decode("utf-8")
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                rejects.append(explain(row, value, self.schema, str(error)))
            else:
                rows.append(row)
                structs.append(struct)
        return rows, structs, rejects

    def _columns(
        self, rows: list[int], structs: list[Any], received_ms: int
    ) -> tuple[Columns, dict[int, Reject]]:
        raw: dict[str, list[Any]] = {}
        values: dict[str, NDArray[Any]] = {}
        found: list[Faults] = []
        for field, read, convert in zip(self._fields, self._type.read, self._convert, strict=True):
            raw[field.name] = convert(read(structs))
            values[field.name], faults = self._check(field, raw[field.name], received_ms)
            if faults:
                found.append(faults)
        accounts = raw[self.schema.account.name]
        rejects = {
            rows[place]: Reject(rows[place], *fault, accounts[place])
            for faults in reversed(found)
            for place, fault in faults.items()
        }
        columns = Columns(
            rows=np.array(rows, dtype=np.int64),
            event_ids=raw[self.schema.event_id.name],
            accounts=accounts,
            event_time_ms=values[self.schema.event_time.name],
            values=values,
        )
        return columns, rejects

    def _check(
        self, field: Field, values: list[Any], received_ms: int
    ) -> tuple[NDArray[Any], Faults]:
        if field.type is FieldType.NUMBER:
            return check_numbers(field, values)
        if field.type is FieldType.TIMESTAMP:
            is_event_time = field is self.schema.event_time
            ahead_ms = self.limits.max_future_ms if is_event_time else None
            return check_times(field, values, received_ms, ahead_ms)
        return hash_strings(values), check_texts(field, values)


def _unread(row: int, value: bytes | None, limit: int) -> Reject:
    if value is None:
        return Reject(row, Reason.TOMBSTONE, "an event must have a value, however: a tombstone")
    if not value:
        return Reject(row, Reason.TOMBSTONE, "an event must have a value, however: 0 bytes")
    detail = f"an event must have at most {limit:,} bytes, however: {len(value):,}"
    return Reject(row, Reason.TOO_LARGE, detail)


def _wrong_keys(columns: Columns, keys: Sequence[bytes | None]) -> list[Reject]:
    accounts = [account.encode() for account in columns.accounts]
    if accounts == keys:
        return []
    faults = []
    for row, account in zip(columns.rows.tolist(), columns.accounts, strict=True):
        if keys[row] != account.encode():
            key = keys[row]
            found = "none" if key is None else repr(key.decode("utf-8", "replace")[:_SHOWN])
            detail = f"a record's key must be its account {account[:_SHOWN]!r}, however: {found}"
            faults.append(Reject(row, Reason.WRONG_KEY, detail, account))
    return faults
