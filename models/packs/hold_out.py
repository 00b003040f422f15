"""Keeping a share of the accounts of a prepared file apart, to judge a model on them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from engine.hashing import hash_strings
from models.periods import TEACHES

#: The hash's bits that choose; those that choose the accounts that validate are others.
_BITS, _SHIFT = 16, 16


def hold_out(table: pa.Table, account: str, share: float) -> tuple[pa.Table, pa.Table]:
    """Return the events of the accounts that teach, and of those that are held out.

    The hash of its name chooses an account, the same in every file. Accounts that only teach go
    with the account that they are made of, and are left out where that is held out.

    Args:
        table: events.
        account: the column of the accounts' names.
        share: of the accounts that is held out, above 0 and below 1.
    """
    names = [str(each) for each in table.column(account).to_pylist()]
    drawn = hash_strings([each.partition(TEACHES)[0] for each in names])
    held = ((drawn >> _SHIFT) & ((1 << _BITS) - 1)) < round(share * (1 << _BITS))
    teaches = np.array([TEACHES in each for each in names], dtype=np.bool_)
    return table.filter(pa.array(~held)), table.filter(pa.array(held & ~teaches))
