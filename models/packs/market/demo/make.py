"""Cut the demo's slice out of the table of daily closes.

python models/packs/market/demo/make.py sp500-20-stocks-daily.parquet
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.packs.market.prepare import bars

START, END = "2019-04", "2020-07"


def main(source: Path) -> None:
    """Write ``bars.parquet`` beside this file."""
    table = bars(source, training=False)
    time = table["time"]
    table = table.filter(pc.and_(pc.greater_equal(time, START), pc.less(time, END)))
    target = Path(__file__).parent / "bars.parquet"
    pq.write_table(table, target, compression="zstd", compression_level=19)
    print(f"{table.num_rows:,} bars, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
