"""From a table of daily closes, a column a security, to a stream of bars.

Made for ``sp500_dataset`` of the PyPI package skfolio (adjusted closes of 20 large US stocks, 1990
to 2022); any file with a column ``Date`` and a column of prices for each security will do.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.errors import HistoryError

_CLOSE_UTC = "T21:00:00Z"


def bars(file: Path, training: bool) -> pa.Table:
    """Return the bars of all securities, day by day, with the pack's columns.

    Args:
        file: the raw parquet file. A day on which a security has no price has no bar of it.
        training: makes no difference.

    Raises:
        HistoryError: the file has no dates.
    """
    table = pq.read_table(file)
    if "Date" not in table.column_names:
        raise HistoryError(
            "the raw file of the market pack must have a column Date and one for each security, "
            f"however: {file.name} has {', '.join(table.column_names[:5])}"
        )
    dates = [str(each)[:10] for each in table["Date"].to_pylist()]
    names = [name for name in table.column_names if name != "Date"]
    closes = np.stack([table[name].to_numpy().astype(np.float64) for name in names], axis=1)
    day, security = np.nonzero(~np.isnan(closes))
    return pa.table(
        {
            "bar_id": [
                f"{names[at]}-{dates[row]}"
                for row, at in zip(day.tolist(), security.tolist(), strict=True)
            ],
            "time": [f"{dates[row]}{_CLOSE_UTC}" for row in day.tolist()],
            "security": [names[at] for at in security.tolist()],
            "market": ["us"] * len(day),
            "close": closes[day, security],
            "split": np.ones(len(day)),
        }
    )
