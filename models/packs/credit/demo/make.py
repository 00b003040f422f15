"""Cut the demo's slice out of the UCI file of credit card clients.

    python models/packs/credit/demo/make.py taiwan-credit-default.parquet

The clients are some of those that the pack's bundle was not trained on: fold 0 of
``benchmarks/credit_folds.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.model_selection import StratifiedKFold

from models.packs.credit.prepare import TARGET, statements

CLIENTS = 2_000
_DAY_S = 86_400


def spread(table: pa.Table, clients: Sequence[str]) -> pa.Table:
    """Return the statements over their days, for a demo that shows one after the other.

    A client's come at the same time of each month's day, so that no score changes.
    """
    second = {client: at * _DAY_S // len(clients) for at, client in enumerate(clients)}
    days = pc.strptime(table["time"], format="%Y-%m-%dT%H:%M:%SZ", unit="s")
    seconds = pa.array([second[each] for each in table["client_id"].to_pylist()])
    times = pc.add(days, seconds.cast(pa.duration("s")))
    texts = pc.strftime(times, format="%Y-%m-%dT%H:%M:%SZ")
    at = table.column_names.index("time")
    return table.set_column(at, "time", texts).sort_by([("time", "ascending")])


def main(source: Path) -> None:
    """Write ``statements.parquet`` beside this file."""
    raw = pq.read_table(source, columns=["ID", TARGET])
    cut = StratifiedKFold(5, shuffle=True, random_state=0).split(raw["ID"], raw[TARGET])
    _, test = next(cut)
    chosen = [str(each) for each in raw["ID"].take(pa.array(test[:CLIENTS])).to_pylist()]
    table = statements(source, training=False)
    table = spread(table.filter(pc.is_in(table["client_id"], pa.array(chosen))), chosen)
    target = Path(__file__).parent / "statements.parquet"
    pq.write_table(table, target, compression="zstd", compression_level=19)
    print(f"{table.num_rows:,} statements, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
