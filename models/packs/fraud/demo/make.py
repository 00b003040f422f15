"""Cut the demo's slice out of the Fraud Detection Handbook's transactions.

    python models/packs/fraud/demo/make.py handbook-transactions.parquet

The slice is a neighbourhood: cards that share terminals, so that both a card's and a terminal's
history are dense in it. It is what ``riskstream demo`` streams.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

CARDS = 800
START = datetime(2018, 6, 1)  # noqa: DTZ001  the file's times have no zone
END = datetime(2018, 9, 1)  # noqa: DTZ001
SEED_CARD = 1234

_NAMES = {
    "TRANSACTION_ID": "transaction_id",
    "TX_DATETIME": "time",
    "CUSTOMER_ID": "card_id",
    "TERMINAL_ID": "terminal_id",
    "TX_AMOUNT": "amount",
    "TX_FRAUD": "fraud",
}


def neighbours(
    cards: NDArray[np.int64], terminals: NDArray[np.int64], seed: int, wanted: int
) -> NDArray[np.int64]:
    """Return cards around a seed: those that share the most terminals with the chosen ones.

    Args:
        cards: each transaction's card; int64 ``[n]``.
        terminals: each transaction's terminal; int64 ``[n]``.
        seed: the card to begin with.
        wanted: how many cards to return.
    """
    pairs = np.unique(np.stack([cards, terminals], axis=1), axis=0)
    chosen = np.array([seed])
    while len(chosen) < wanted:
        near = np.unique(pairs[np.isin(pairs[:, 0], chosen), 1])
        found, shared = np.unique(pairs[np.isin(pairs[:, 1], near), 0], return_counts=True)
        new = ~np.isin(found, chosen)
        ranked = found[new][np.argsort(-shared[new], kind="stable")]
        step = max(len(chosen) // 2, 1)
        chosen = np.concatenate([chosen, ranked[: min(step, wanted - len(chosen))]])
    return np.sort(chosen)


def main(source: Path) -> None:
    """Write ``transactions.parquet`` beside this file."""
    table = pq.read_table(source, columns=list(_NAMES))
    time = table.column("TX_DATETIME")
    table = table.filter(pc.and_(pc.greater_equal(time, START), pc.less(time, END)))
    cards = table.column("CUSTOMER_ID").to_numpy().astype(np.int64)
    terminals = table.column("TERMINAL_ID").to_numpy().astype(np.int64)
    chosen = neighbours(cards, terminals, SEED_CARD, CARDS)
    table = table.filter(pa.array(np.isin(cards, chosen)))
    columns = {
        "transaction_id": table.column("TRANSACTION_ID").cast(pa.int32()),
        "time": table.column("TX_DATETIME").cast(pa.timestamp("s")),
        "card_id": table.column("CUSTOMER_ID").cast(pa.int16()),
        "terminal_id": table.column("TERMINAL_ID").cast(pa.int16()),
        "amount": table.column("TX_AMOUNT").cast(pa.float64()),
        "fraud": table.column("TX_FRAUD").cast(pa.int8()),
    }
    target = Path(__file__).parent / "transactions.parquet"
    pq.write_table(pa.table(columns), target, compression="zstd", compression_level=19)
    frauds = pc.sum(columns["fraud"]).as_py()
    print(f"{table.num_rows:,} transactions, {frauds:,} frauds, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
