"""Stable 64-bit hashes of strings, and the deterministic ids made from them.

The hash is XXH3-64 (seed 0) over the UTF-8 bytes, read as a signed integer so that it fits an
ONNX int64 tensor. A bundle's manifest names it; a model is only valid with the hash it was
trained with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_digest, xxh3_128_hexdigest

HASH_NAME = "xxh3_64"

_SEPARATOR = "\x1f"


def hash_strings(values: Iterable[str]) -> NDArray[np.int64]:
    """Return the signed 64-bit hash of each string. Shape ``[n]``.

    >>> hash_strings(["a", "a", "b"]).tolist() == hash_strings(["a", "a", "b"]).tolist()
    True
    """
    # Digests are the hash's bytes, the highest first: cheaper than an integer for each.
    digests = b"".join([xxh3_64_digest(value.encode()) for value in values])
    return np.frombuffer(digests, dtype=">i8").astype(np.int64)


def event_ids(kind: str, accounts: Sequence[str], event_ids: Sequence[str]) -> list[str]:
    """Return one deterministic id (32 hex digits) for each event.

    The same account and event id give the same id whenever and wherever they are scored, so that
    a consumer that drops repeated ids sees each score or alert once.

    Args:
        kind: what the id is for, such as ``score`` or ``alert``.
        accounts: ``n`` account identifiers.
        event_ids: ``n`` event identifiers.
    """
    # With the account's length, no account that holds the separator can pass for another.
    sep = _SEPARATOR
    return [
        xxh3_128_hexdigest(f"{kind}{sep}{len(account)}{sep}{account}{sep}{event}".encode())
        for account, event in zip(accounts, event_ids, strict=True)
    ]
