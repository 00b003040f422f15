"""The columns of a file as they are, before a schema is applied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from engine.history_files import read_columns, read_lines
from engine.schema import Schema


def read_flat(path: Path, schema: Schema | None = None) -> pa.Table:
    """Return all columns of a file, its rows in their order.

    A nested column is one column for each of its fields, by their paths. Columns of lists, and
    those without any value, are left out.

    Args:
        path: a parquet, CSV or JSON lines file.
        schema: see :func:`engine.history_files.read_columns`.

    Raises:
        HistoryError: the file cannot be read.
    """
    lines = read_lines(path)
    table = read_columns(path, schema) if lines is None else _of_lines(lines)
    while any(pa.types.is_struct(each.type) for each in table.schema):
        table = table.flatten()
    flat = [
        name
        for name, kind in zip(table.column_names, table.schema.types, strict=True)
        if not pa.types.is_nested(kind) and not pa.types.is_null(kind)
    ]
    return table.select(flat)


def is_number(column: pa.ChunkedArray) -> bool:
    """Whether a column has numbers or times, whose order means something."""
    kind = column.type
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_temporal)
    return any(test(kind) for test in tests)


def numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return a column of numbers or times as float64 ``[n]``, NaN where missing."""
    if pa.types.is_temporal(column.type) and not pa.types.is_duration(column.type):
        column = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    elif pa.types.is_duration(column.type):
        column = column.cast(pa.int64())
    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float64)


def _of_lines(lines: list[bytes]) -> pa.Table:
    """Return the columns of JSON lines; one of mixed types becomes text."""
    rows = [_flat(line) for line in lines]
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _flat(line: bytes) -> dict[str, Any]:
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return _paths(event) if isinstance(event, dict) else {}


def _paths(event: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in event.items():
        if isinstance(value, dict):
            found |= _paths(value, f"{before}{name}.")
        else:
            found[before + name] = value
    return found


def _column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
