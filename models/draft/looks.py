"""What a column looks like: its kind of values, and what its name says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.label_values import label_of
from models.datacheck.columns import area_under_curve
from models.datacheck.table import is_number, numbers

#: Seconds and milliseconds since 1970 between the years 1990 and 2100.
_SECONDS, _MILLIS = (631_152_000.0, 4_102_444_800.0), (631_152_000_000.0, 4_102_444_800_000.0)
_SAMPLE = 1_000
_ISO = r"^\s*\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?$"


@dataclass(frozen=True, slots=True)
class Look:
    """A column of a file of ``n`` rows.

    Args:
        name: as it stands in the file.
        values: its values, ``n`` of them.
        distinct: how many different ones.
        missing: how many rows have none.
    """

    name: str
    values: pa.ChunkedArray
    distinct: int
    missing: int

    @classmethod
    def at(cls, name: str, values: pa.ChunkedArray) -> Look:
        """Look at a column."""
        counted = pc.count_distinct(values, mode="only_valid").as_py()
        return cls(name, values, int(counted), values.null_count)

    @property
    def words(self) -> list[str]:
        """The words of its name, in lower case.

        >>> Look("ccNum_hash", pa.chunked_array([["a"]]), 1, 0).words
        ['cc', 'num', 'hash']
        """
        parted = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", self.name)
        return [word for word in re.split(r"[^A-Za-z0-9]+", parted.lower()) if word]

    @property
    def is_unique(self) -> bool:
        """Whether each row has a value of its own."""
        return self.distinct == len(self.values)

    @property
    def is_identifier(self) -> bool:
        """Whether its values are texts or whole numbers."""
        kind = self.values.type
        return any(
            test(kind)
            for test in (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
        ) or pa.types.is_dictionary(kind)

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers, and no times."""
        return is_number(self.values) and not pa.types.is_temporal(self.values.type)

    @property
    def time_format(self) -> str | None:
        """How its values are written if they are times, as a schema names it; None if not."""
        kind = self.values.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return "iso8601"
        sample = self.values.drop_null().slice(0, _SAMPLE)
        if not len(sample):
            return None
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return "iso8601" if pc.all(pc.match_substring_regex(sample, _ISO)).as_py() else None
        if not self.is_number:
            return None
        values = numbers(sample)
        for name, (least, most) in (("epoch_s", _SECONDS), ("epoch_ms", _MILLIS)):
            if ((values > least) & (values < most)).all():
                return name
        return None

    @property
    def is_label(self) -> bool:
        """Whether its values are labels of both kinds."""
        if not 2 <= self.distinct <= 8:
            return False
        found = [label_of(value) for value in pc.unique(self.values).to_pylist()]
        return None not in found and {0.0, 1.0} <= set(found)

    @property
    def says_fraud(self) -> bool:
        """Whether one of its values is the text fraud."""
        found = pc.unique(self.values).to_pylist()
        return any(str(value).strip().lower() == "fraud" for value in found)

    def has(self, hints: Sequence[str]) -> int | None:
        """Return the place of the first hint that its name has, as words; None if it has none."""
        name = f" {' '.join(self.words)} "
        for place, hint in enumerate(hints):
            if f" {hint} " in name:
                return place
        return None

    def tells(self, labels: NDArray[np.float32]) -> bool:
        """Whether its order alone nearly gives the labels, float32 ``[n]``."""
        values = numbers(self.values)
        known = np.isfinite(values) & ~np.isnan(labels)
        fraud = labels[known] > 0.5
        if not 0 < fraud.sum() < len(fraud):
            return False
        area = area_under_curve(values[known], fraud)
        return max(area, 1 - area) >= 0.99
