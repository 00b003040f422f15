"""Files of past events: parquet, CSV or JSON lines, as the stream would have carried them.

Whatever the file, a history gives each event's JSON bytes in the order of event time. Training,
offline scoring and replay decode these with the decoder of the stream, so that a file means the
same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from engine.columns import Columns, Decoded
from engine.decode import Decoder
from engine.errors import HistoryError
from engine.history_files import nested, read_lines, read_table, sort_times
from engine.label_values import read_labels
from engine.schema import Field, Schema, TimeFormat

_CHUNK = 8_192


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some events of a history, in order.

    Args:
        values: their JSON bytes.
        keys: their accounts, the topic's keys; None where there is none.
        event_ids: their ids; None where there is none.
        event_time_ms: their times; int64 ``[n]``.
        labels: float32 ``[n]``, NaN where unknown; None where the file has no labels.
    """

    values: list[bytes]
    keys: list[bytes | None]
    event_ids: list[str | None]
    event_time_ms: NDArray[np.int64]
    labels: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class History:
    """A file of events, sorted by event time (a stable sort).

    Args:
        schema: what an event looks like; a field's path names its column.
        event_time_ms: int64 ``[n]``. An event whose time cannot be read stands beside its
            predecessor in the file.
        labels: float32 ``[n]``, NaN where unknown; None where the file has no labels.
        file_rows: where each event stands in the file, from 0; int64 ``[n]``.
    """

    schema: Schema
    event_time_ms: NDArray[np.int64]
    labels: NDArray[np.float32] | None
    file_rows: NDArray[np.int64]
    _table: pa.Table | None
    _lines: list[bytes] | None

    def __len__(self) -> int:
        return len(self.event_time_ms)

    @classmethod
    def open(
        cls,
        path: Path,
        schema: Schema,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> Self:
        """Read a history.

        Args:
            path: a file that ends in .parquet, .csv, .jsonl or .ndjson (.csv.gz and .jsonl.gz
                too).
            schema: what an event looks like.
            start_ms: leave out events before this time.
            end_ms: leave out events from this time on.

        Raises:
            HistoryError: the file is missing, of another kind, or lacks a column, or a label is
                none (:mod:`engine.label_values`).
        """
        lines = read_lines(path)
        table = None
        if lines is None:
            table = read_table(path, schema)
            times = sort_times(table, schema)
            labels = _labels_of(table, schema)
        else:
            lines, times, labels = _parse_lines(lines, schema)
        order = _order(times, start_ms, end_ms)
        return cls(
            schema=schema,
            event_time_ms=times[order],
            labels=None if labels is None else labels[order],
            file_rows=order,
            _table=None if table is None else table.take(pa.array(order)),
            _lines=None if lines is None else [lines[at] for at in order.tolist()],
        )

    def chunks(self, size: int = _CHUNK) -> Iterator[Chunk]:
        """Yield the events in order, at most ``size`` at a time."""
        for start in range(0, max(len(self), 1), size):
            stop = min(start + size, len(self))
            times = self.event_time_ms[start:stop]
            labels = None if self.labels is None else self.labels[start:stop]
            if self._lines is not None:
                yield _chunk_of_lines(self._lines[start:stop], self.schema, times, labels)
            elif self._table is not None:
                table = self._table.slice(start, stop - start)
                yield _chunk_of_table(table, self.schema, times, labels)

    def slice(self, start: int, stop: int) -> History:
        """Return the events from place ``start`` to before place ``stop``."""
        return History(
            schema=self.schema,
            event_time_ms=self.event_time_ms[start:stop],
            labels=None if self.labels is None else self.labels[start:stop],
            file_rows=self.file_rows[start:stop],
            _table=None if self._table is None else self._table.slice(start, stop - start),
            _lines=None if self._lines is None else self._lines[start:stop],
        )

    def decode(self, decoder: Decoder, received_ms: int) -> Decoded:
        """Decode the whole history; rows count from its start."""
        parts, rejects, start = [], [], 0
        for chunk in self.chunks():
            part = decoder.decode(chunk.values, received_ms)
            parts.append(part.columns.shifted(start))
            rejects += [replace(each, row=each.row + start) for each in part.rejects]
            start += len(chunk)
        return Decoded(Columns.concatenate(parts), rejects)


def _order(times: NDArray[np.int64], start_ms: int | None, end_ms: int | None) -> NDArray[np.int64]:
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    first = 0 if start_ms is None else int(np.searchsorted(ordered, start_ms, side="left"))
    last = len(order) if end_ms is None else int(np.searchsorted(ordered, end_ms, side="left"))
    return order[first:last]


def _chunk_of_table(
    table: pa.Table,
    schema: Schema,
    times: NDArray[np.int64],
    labels: NDArray[np.float32] | None,
) -> Chunk:
    columns = [table.column(field.path).to_pylist() for field in schema.streamed]
    paths = [field.keys for field in schema.streamed]
    if all(len(keys) == 1 for keys in paths):
        names = [keys[0] for keys in paths]
        events: list[Any] = [
            dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)
        ]
    else:
        events = [nested(paths, row) for row in zip(*columns, strict=True)]
    by_name = dict(zip([field.name for field in schema.streamed], columns, strict=True))
    accounts, ids = by_name[schema.account.name], by_name[schema.event_id.name]
    return Chunk(
        values=[orjson.dumps(event) for event in events],
        keys=[None if account is None else str(account).encode() for account in accounts],
        event_ids=[None if each is None else str(each) for each in ids],
        event_time_ms=times,
        labels=labels,
    )


def _chunk_of_lines(
    lines: list[bytes],
    schema: Schema,
    times: NDArray[np.int64],
    labels: NDArray[np.float32] | None,
) -> Chunk:
    events = [_loads(line) for line in lines]
    accounts = [_identifier(event, schema.account) for event in events]
    return Chunk(
        values=lines,
        keys=[None if account is None else account.encode() for account in accounts],
        event_ids=[_identifier(event, schema.event_id) for event in events],
        event_time_ms=times,
        labels=labels,
    )


def _labels_of(table: pa.Table, schema: Schema) -> NDArray[np.float32] | None:
    if schema.label is None or schema.label.path not in table.column_names:
        return None
    labels: NDArray[np.float32] = table.column(schema.label.path).to_numpy()
    return labels


def _parse_lines(
    lines: list[bytes], schema: Schema
) -> tuple[list[bytes], NDArray[np.int64], NDArray[np.float32] | None]:
    """Return JSON lines without their labels, their times and labels.

    A line that is no event has neither, and stays as it is.
    """
    events = [_loads(line) for line in lines]
    if lines and not any(isinstance(event, dict) for event in events):
        raise HistoryError("each line of a JSON lines file must be an object, however: none is")
    found = [_find(event, schema.event_time.keys) for event in events]
    if schema.event_time.format is TimeFormat.ISO8601:
        times = pa.array([each if isinstance(each, str) else None for each in found], pa.string())
    else:
        times = pa.array([_number(each) for each in found], pa.float64())
    table = pa.table({schema.event_time.path: times})
    label = schema.label
    if label is None:
        return lines, sort_times(table, schema), None
    found = [_find(event, label.keys) for event in events]
    labels = None
    if any(value is not None for value in found):
        labels = read_labels(found, label.path)
    unlabelled = [
        line if value is None else _without(event, label.keys)
        for line, event, value in zip(lines, events, found, strict=True)
    ]
    return unlabelled, sort_times(table, schema), labels


def _without(event: dict[str, Any], keys: Sequence[str]) -> bytes:
    """Return an event as JSON without the field at a path that it has."""
    node = event
    for key in keys[:-1]:
        node = node[key]
    del node[keys[-1]]
    return orjson.dumps(event)


def _loads(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _find(event: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        event = event.get(key) if isinstance(event, dict) else None
    return event


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None


def _identifier(event: Any, field: Field) -> str | None:
    found = _find(event, field.keys)
    return str(found) if isinstance(found, str | int) else None
