"""A file of events, as all checks read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.columns import Columns, Reject
from engine.decode import Decoder
from engine.errors import HistoryError
from engine.history import History
from engine.schema import Schema
from models.datacheck.table import numbers, read_flat


@dataclass(frozen=True, slots=True)
class Source:
    """A file of ``n`` rows, ``m`` of which are events that can be read.

    Args:
        path: the file.
        schema: what an event looks like.
        table: all columns of the file, its ``n`` rows in their order; a nested column is one
            column for each of its fields, by their paths.
        file_time_ms: the time of each row in the order of the file, in ms since 1970; int64
            ``[n]``.
        file_labels: 1, 0, NaN unknown, likewise; float32 ``[n]``; None where there is no column.
        rejects: the rows that cannot be read; ``row`` counts from 0 in the file, ascending.
        events: the others, sorted by time.
        labels: of the events; float32 ``[m]``, NaN where unknown.
        file_rows: where the events stand in the file, from 0; int64 ``[m]``.
    """

    path: Path
    schema: Schema
    table: pa.Table
    file_time_ms: NDArray[np.int64]
    file_labels: NDArray[np.float32] | None
    rejects: list[Reject]
    events: Columns
    labels: NDArray[np.float32]
    file_rows: NDArray[np.int64]
    _codes: dict[str, NDArray[np.int64]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.file_time_ms)

    @property
    def times(self) -> NDArray[np.int64]:
        """The events' times, in ms since 1970, ascending; int64 ``[m]``."""
        return self.events.event_time_ms

    @classmethod
    def read(cls, path: Path, history: History, now_ms: int) -> Source:
        """Read a file.

        Args:
            path: the file.
            history: the same file, opened whole.
            now_ms: the present time: later events lie in the future.

        Raises:
            HistoryError: it has no rows, or cannot be read.
        """
        if not len(history):
            raise HistoryError(f"a file must have events to be checked, however: {path} has none")
        decoded = history.decode(Decoder(history.schema), now_ms)
        place, columns = history.file_rows, decoded.columns
        unknown = np.full(len(history), np.nan, dtype=np.float32)
        by_time = unknown if history.labels is None else history.labels
        rejects = [(int(place[each.row]), each) for each in decoded.rejects]
        return cls(
            path=path,
            schema=history.schema,
            table=read_flat(path, history.schema),
            file_time_ms=_in_file_order(history.event_time_ms, place),
            file_labels=None if history.labels is None else _in_file_order(by_time, place),
            rejects=[
                Reject(row, each.reason, each.detail, each.account)
                for row, each in sorted(rejects, key=lambda pair: pair[0])
            ],
            events=columns,
            labels=by_time[columns.rows],
            file_rows=place[columns.rows],
        )

    def role(self, column: str) -> str:
        """Return the role of a column of the file; empty where the schema does not name it."""
        roles = {each.path: str(each.role) for each in self.schema.fields}
        return roles.get(column, "")

    def codes(self, column: str) -> NDArray[np.int64]:
        """Return a number for each different value of a column, int64 ``[n]``; missing is -1."""
        if column not in self._codes:
            self._codes[column] = _encode(self.table.column(column))
        return self._codes[column]


def _in_file_order(values: NDArray[Any], place: NDArray[np.int64]) -> NDArray[Any]:
    ordered = np.empty_like(values)
    ordered[place] = values
    return ordered


def _encode(column: pa.ChunkedArray) -> NDArray[np.int64]:
    if pa.types.is_floating(column.type):
        values = numbers(column)
        _, codes = np.unique(values, return_inverse=True)
        return np.where(np.isnan(values), -1, codes)
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    codes = column.combine_chunks().indices.cast(pa.int64()).fill_null(-1)
    return np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int64)
