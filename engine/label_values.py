"""What the labels of a history may be: 1 or 0, true or false, fraud or genuine, or not known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.errors import HistoryError

_FRAUD = ("1", "1.0", "true", "fraud")
_GENUINE = ("0", "0.0", "false", "genuine")
_UNKNOWN = ("", "nan", "null", "none")
_OF_TEXT = {
    **dict.fromkeys(_FRAUD, 1.0),
    **dict.fromkeys(_GENUINE, 0.0),
    **dict.fromkeys(_UNKNOWN, float("nan")),
}
_SHOWN = 40


def label_of(value: Any) -> float | None:
    """Return a label: 1 fraud, 0 genuine, NaN not known; None where the value is no label.

    >>> label_of(True), label_of("Genuine"), label_of(None), label_of("chargeback")
    (1.0, 0.0, nan, None)
    """
    if value is None or isinstance(value, str | int | float):
        return _OF_TEXT.get(str(value).strip().lower())
    return None


def read_labels(values: pa.ChunkedArray | Sequence[Any], where: str) -> NDArray[np.float32]:
    """Return the labels of ``n`` rows; float32 ``[n]``, NaN where not known.

    Args:
        values: the rows' values, in the order of the file.
        where: the column, for the error.

    Raises:
        HistoryError: a value is no label.
    """
    if isinstance(values, pa.ChunkedArray):
        kinds, places = _kinds(values)
    else:
        kinds, places = list(values), np.arange(len(values))
    labels = [label_of(kind) for kind in kinds]
    wrong = np.array([label is None for label in labels], dtype=np.bool_)[places]
    if wrong.any():
        row = int(np.argmax(wrong))
        raise HistoryError(
            "a label must be 1, true or fraud; 0, false or genuine; or empty where it is not "
            f"known, however: row {row + 1:,} of the column {where} has "
            f"{str(kinds[places[row]])[:_SHOWN]!r}; write a column of such labels, and map it "
            "with --field"
        )
    return np.array(labels, dtype=np.float32)[places]


def _kinds(column: pa.ChunkedArray) -> tuple[list[Any], NDArray[np.int64]]:
    """Return the different values of a column, and which of them each row has."""
    if pa.types.is_nested(column.type):
        return column.to_pylist(), np.arange(len(column))
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kinds = pc.unique(column)
    places = pc.index_in(column, value_set=kinds)
    return kinds.to_pylist(), places.to_numpy(zero_copy_only=False).astype(np.int64)
