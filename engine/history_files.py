"""Reading the files of :mod:`engine.history`: formats, columns and their types."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from engine.errors import HistoryError, first_line
from engine.label_values import read_labels
from engine.schema import Field, FieldType, Schema, TimeFormat
from engine.values import MAX_TIME_MS, to_text

_LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
_CSV = (".csv", ".csv.gz")
_PARQUET = (".parquet", ".pq")
_ISO = "%Y-%m-%dT%H:%M:%SZ"


def read_lines(path: Path) -> list[bytes] | None:
    """Return the lines of a JSON lines file that are not empty; None if it is of another kind.

    Raises:
        HistoryError: the file is missing, unreadable, or of no known kind.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise HistoryError(f"a history must be a file, however: {path} is {found}")
    name = path.name.lower()
    if not name.endswith((*_LINES, *_CSV, *_PARQUET)):
        known = ", ".join((*_PARQUET[:1], *_CSV[:1], *_LINES[:1]))
        raise HistoryError(f"a history must end in one of {known}, however: {path.name}")
    if not name.endswith(_LINES):
        return None
    try:
        content = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise HistoryError(f"a history must be readable, however: {path}: {error}") from None
    return [line for line in content.split(b"\n") if line.strip()]


def read_table(path: Path, schema: Schema) -> pa.Table:
    """Return the schema's columns of a parquet or CSV file, named by the fields' paths.

    Identifiers and categories become text, numbers floats; ISO times become text in UTC.

    Raises:
        HistoryError: a column is missing, or its type cannot be what the field needs.
    """
    return pick_columns(read_columns(path, schema), path, schema)


def read_columns(path: Path, schema: Schema | None = None) -> pa.Table:
    """Return all columns of a parquet or CSV file, as they are.

    Args:
        path: the file.
        schema: in a CSV file, the columns of its identifiers, categories and times stay text.

    Raises:
        HistoryError: the file cannot be read.
    """
    try:
        if path.name.lower().endswith(_CSV):
            return _read_csv(path, schema)
        return pa.parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise HistoryError(
            f"a history must be readable, however: {path}: {first_line(error)}"
        ) from None


def pick_columns(table: pa.Table, path: Path, schema: Schema) -> pa.Table:
    """Return the schema's columns of a file's; see :func:`read_table`."""
    columns = {}
    for field in schema.fields:
        try:
            column = _find_column(table, field)
        except KeyError:  # pyarrow's answer to a name that several columns have
            raise HistoryError(
                f"a column must have a name of its own, however: {path.name} has several "
                f"for {field.path!r}; rename all but one"
            ) from None
        if column is not None and field is schema.label:
            columns[field.path] = pa.array(read_labels(column, f"{field.path} of {path.name}"))
        elif column is not None:
            columns[field.path] = _typed(column, field, path)
        elif field.required and field is not schema.label:
            raise HistoryError(_missing(path, field, table.column_names))
        elif field is not schema.label:
            columns[field.path] = pa.nulls(table.num_rows, pa.string())
    return pa.table(columns)


def sort_times(table: pa.Table, schema: Schema) -> NDArray[np.int64]:
    """Return the times to sort by, in ms since 1970; int64 ``[n]``.

    A row whose time cannot be read takes the time of the row before it.
    """
    field = schema.event_time
    column = table.column(field.path)
    if field.format is TimeFormat.ISO8601:
        times = _parse_iso(column)
    else:
        numbers = pc.cast(column, pa.float64(), safe=False) if len(column) else column
        scale = 1000.0 if field.format is TimeFormat.EPOCH_S else 1.0
        times = np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64) * scale
    known = np.isfinite(times) & (np.abs(times) <= MAX_TIME_MS)
    last = np.maximum.accumulate(np.where(known, np.arange(len(times)), -1))
    filled = np.where(last >= 0, times[np.maximum(last, 0)], 0.0)
    return np.round(filled).astype(np.int64)


def nested(paths: Sequence[tuple[str, ...]], values: Sequence[Any]) -> dict[str, Any]:
    """Return an object with each value at its path.

    >>> nested([("card", "id"), ("amount",)], ["c1", 5.0])
    {'card': {'id': 'c1'}, 'amount': 5.0}
    """
    event: dict[str, Any] = {}
    for keys, value in zip(paths, values, strict=True):
        node = event
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = value
    return event


def _read_csv(path: Path, schema: Schema | None) -> pa.Table:
    types = {
        field.path: pa.string()
        for field in (schema.fields if schema else ())
        if field.type in (FieldType.IDENTIFIER, FieldType.CATEGORY, FieldType.TIMESTAMP)
    }
    options = pa.csv.ConvertOptions(column_types=types, strings_can_be_null=True)
    options.null_values = [each for each in options.null_values if each != "NA"]  # Namibia
    compression = "gzip" if path.name.lower().endswith(".gz") else None
    with pa.input_stream(str(path), compression=compression) as stream:
        return pa.csv.read_csv(stream, convert_options=options)


def _find_column(table: pa.Table, field: Field) -> pa.ChunkedArray | None:
    """Return the column of a field: one of that name, or the field of a nested column."""
    if field.path in table.column_names:
        return table.column(field.path)
    first, *rest = field.keys
    if first not in table.column_names:
        return None
    column = table.column(first)
    for key in rest:
        if not pa.types.is_struct(column.type) or column.type.get_field_index(key) < 0:
            return None
        column = pc.struct_field(column, key)
    return column


def _typed(column: pa.ChunkedArray, field: Field, path: Path) -> pa.ChunkedArray:
    try:
        if field.type is FieldType.NUMBER:
            return column.cast(pa.float64(), safe=False)  # rounds integers beyond 2**53
        if field.type is FieldType.TIMESTAMP:
            return _timestamp(column, field)
        if pa.types.is_floating(column.type):
            return _float_texts(column, field)
        return column.cast(pa.string())
    except (pa.ArrowException, ValueError) as error:
        raise HistoryError(
            f"the column {field.path} of {path.name} must be a {field.type}, however: it is of "
            f"the type {column.type} ({first_line(error)})"
        ) from None


def _float_texts(column: pa.ChunkedArray, field: Field) -> pa.ChunkedArray:
    """Return integers that a gap made floats as integers, and a category's floats as JSON's."""
    column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)  # also a gap
    try:
        return column.cast(pa.int64()).cast(pa.string())
    except pa.ArrowInvalid:
        if field.type is not FieldType.CATEGORY:
            raise
    texts = [None if value is None else to_text(value) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _timestamp(column: pa.ChunkedArray, field: Field) -> pa.ChunkedArray:
    if field.format is not TimeFormat.ISO8601:
        if pa.types.is_timestamp(column.type):
            per_unit = 1e6 if field.format is TimeFormat.EPOCH_S else 1e3
            micros = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64())
            return pc.divide(micros.cast(pa.float64(), safe=False), per_unit)
        return column.cast(pa.float64())
    if pa.types.is_timestamp(column.type):
        return pc.strftime(column.cast(pa.timestamp("us", "UTC"), safe=False), format=_ISO)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column.cast(pa.string())
    raise ValueError("an ISO 8601 time must be a timestamp or a text")


def _parse_iso(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return ms since 1970, NaN where a text is no time; float64 ``[n]``."""
    texts = pc.utf8_trim_whitespace(column.cast(pa.string()))
    has_zone = pc.match_substring_regex(texts, r"(Z|z|[+-]\d\d:?\d\d)$")
    zoned = pc.if_else(has_zone, texts, pc.binary_join_element_wise(texts, "Z", ""))
    try:
        times = zoned.cast(pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid:
        return np.array([_iso_ms(text) for text in texts.to_pylist()], dtype=np.float64)
    numbers = times.cast(pa.int64()).cast(pa.float64(), safe=False)
    return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64) / 1000.0


def _iso_ms(text: str | None) -> float:
    try:
        parsed = datetime.fromisoformat((text or "").upper())
    except ValueError:
        return float("nan")
    aware = parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
    return aware.timestamp() * 1000


def _missing(path: Path, field: Field, found: Sequence[str]) -> str:
    near = get_close_matches(field.path, found, n=1, cutoff=0.5)
    hint = f"if that is {near[0]!r}, " if near else ""
    return (
        f"{path.name} must have the column {field.path!r}, however: it has "
        f"{', '.join(found)}; {hint}map it with --field {field.name}=COLUMN or under [fields] of "
        "the configuration; where there is none, `riskstream data draft` writes a pack for a model "
        "of the columns that there are"
    )
