"""What a label may be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine.errors import HistoryError
from engine.label_values import read_labels

UNKNOWN = float("nan")


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([True, False, None], [1, 0, UNKNOWN]),
        ([1, 0, None], [1, 0, UNKNOWN]),
        ([1.0, 0.0, UNKNOWN], [1, 0, UNKNOWN]),
        (["fraud", "genuine", ""], [1, 0, UNKNOWN]),
        (["Fraud ", " GENUINE", None], [1, 0, UNKNOWN]),
        (["1", "0", "nan"], [1, 0, UNKNOWN]),
        (["TRUE", "false", "null"], [1, 0, UNKNOWN]),
    ],
    ids=str,
)
def test_labels_are_read(values: list[Any], labels: list[float]) -> None:
    expected = np.array(labels, dtype=np.float32)
    column = pa.chunked_array([pa.array(values[:1]), pa.array(values[1:])])
    for given in (values, column, column.dictionary_encode()):
        np.testing.assert_array_equal(read_labels(given, "fraud"), expected)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([1, 0, -1], "row 3 of the column fraud has '-1'"),
        ([0.0, 0.3], "row 2 of the column fraud has '0.3'"),
        (["fraud", "chargeback", "chargeback"], "row 2 of the column fraud has 'chargeback'"),
        ([[1], [0]], "row 1 of the column fraud has"),
        ([{"is": 1}], "row 1 of the column fraud has"),
    ],
    ids=str,
)
def test_what_is_no_label_is_named_with_its_row(values: list[Any], found: str) -> None:
    for given in (values, pa.chunked_array([pa.array(values)])):
        with pytest.raises(HistoryError) as told:
            read_labels(given, "fraud")
        assert "a label must be 1, true or fraud" in str(told.value)
        assert found in str(told.value)


def test_no_rows_have_no_labels() -> None:
    assert len(read_labels([], "fraud")) == 0
    assert len(read_labels(pa.chunked_array([pa.array([], pa.string())]), "fraud")) == 0
