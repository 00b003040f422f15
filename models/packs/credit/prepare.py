"""From the UCI file of credit card clients to a stream of monthly statements.

The file, *default of credit card clients* (I-Cheng Yeh, UCI Machine Learning Repository, 2016,
https://doi.org/10.24432/C55S3H, CC BY 4.0), has a row for each of 30,000 clients of a bank in
Taiwan: six statements, April to September 2005, and whether the payment of October was missed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.errors import HistoryError

TARGET = "default payment next month"

#: The last days of the six months, and the numbers of the file's columns, oldest first.
_DATES = ("2005-04-30", "2005-05-31", "2005-06-30", "2005-07-31", "2005-08-31", "2005-09-30")
_STATUS = ("PAY_6", "PAY_5", "PAY_4", "PAY_3", "PAY_2", "PAY_0")
_BILL = tuple(f"BILL_AMT{at}" for at in range(6, 0, -1))
_PAYMENT = tuple(f"PAY_AMT{at}" for at in range(6, 0, -1))
_CLIENT = {"sex": "SEX", "education": "EDUCATION", "marriage": "MARRIAGE", "age": "AGE"}

MONTHS = len(_DATES)

#: Of how many of the clients there is, for training, one with a shorter history, and one with a
#: statement missing.
_SHORTER, _GAPS = 0.5, 0.2


def statements(file: Path, training: bool) -> pa.Table:
    """Return the statements of all clients, month by month, with the pack's columns.

    The label stands with the last statement alone: what became of a client after the earlier ones
    is not in the file. For training, clients are added that only teach, under the client's id with
    a ``~``: half of the clients once more with their last one to five statements alone, and a
    fifth with one statement missing, so that the model knows short histories and gaps too.

    Args:
        file: the raw parquet file.
        training: whether to add those.

    Raises:
        HistoryError: the file is not that file.
    """
    table = pq.read_table(file)
    needed = ["ID", "LIMIT_BAL", *_STATUS, *_BILL, *_PAYMENT, *_CLIENT.values(), TARGET]
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        raise HistoryError(
            "the raw file of the credit pack must have the columns of UCI's 'default of credit "
            f"card clients', however: {file.name} has no {', '.join(missing[:5])}"
        )
    raw = {name: table.column(name).to_numpy() for name in needed}
    kept = np.ones((len(raw["ID"]), MONTHS), dtype=np.bool_)
    parts = [_unrolled(raw, kept, "")]
    if training:
        rng = np.random.default_rng(0)
        parts += [_unrolled(raw, _shorter(len(kept), rng), "~short")]
        parts += [_unrolled(raw, _with_a_gap(len(kept), rng), "~gap")]
    joined = pa.concat_tables(parts)
    return joined.sort_by([("time", "ascending")])


def _shorter(clients: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which statements a part of the clients have left: the last few; bool ``[n, 6]``."""
    left = rng.integers(1, MONTHS, clients)
    chosen = rng.random(clients) < _SHORTER
    kept: NDArray[np.bool_] = np.arange(MONTHS) >= MONTHS - left[:, None]
    return kept & chosen[:, None]


def _with_a_gap(clients: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the same of clients without one of the statements between first and last."""
    gone = rng.integers(1, MONTHS - 1, clients)
    chosen = rng.random(clients) < _GAPS
    kept: NDArray[np.bool_] = np.arange(MONTHS) != gone[:, None]
    return kept & chosen[:, None]


def _unrolled(raw: dict[str, NDArray[np.int64]], kept: NDArray[np.bool_], suffix: str) -> pa.Table:
    """Return the statements that are kept, bool ``[clients, 6]``, month by month."""
    clients = [f"{client}{suffix}" for client in raw["ID"].tolist()]
    first = np.argmax(kept, axis=1)
    parts = []
    for at, date in enumerate(_DATES):
        rows = np.flatnonzero(kept[:, at])
        is_first, is_last = first[rows] == at, at == MONTHS - 1
        columns = {
            "statement_id": _texts(f"{clients[row]}-{date[:7]}" for row in rows.tolist()),
            "time": _texts([f"{date}T00:00:00Z"] * len(rows)),
            "client_id": _texts(clients[row] for row in rows.tolist()),
            "limit": raw["LIMIT_BAL"][rows].astype(np.float64),
            "status": raw[_STATUS[at]][rows].astype(np.float64),
            "bill": raw[_BILL[at]][rows].astype(np.float64),
            "payment": raw[_PAYMENT[at]][rows].astype(np.float64),
            **{
                name: np.where(is_first, raw[column][rows], 0).astype(np.float64)
                for name, column in _CLIENT.items()
            },
            "default": pa.array(
                raw[TARGET][rows] if is_last else [None] * len(rows), type=pa.int8()
            ),
        }
        parts.append(pa.table(columns))
    return pa.concat_tables(parts)


def _texts(values: Iterable[str]) -> pa.Array:
    return pa.array(list(values), type=pa.string())
