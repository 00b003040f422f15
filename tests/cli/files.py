"""Histories as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet


def write(path: Path, events: list[dict[str, Any]]) -> Path:
    """Write events to a file of the kind that its name says, and return it."""
    if path.suffix == ".jsonl":
        path.write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in events))
    elif path.suffix == ".csv":
        pa.csv.write_csv(pa.Table.from_pylist(events), path)
    else:
        pa.parquet.write_table(pa.Table.from_pylist(events), path)
    return path
