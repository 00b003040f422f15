"""A second kind of data: transfers between wallets. Texts as ids, no terminal, labels in part."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

START = datetime(2026, 1, 1, tzinfo=UTC)
WALLETS, RECEIVERS = 120, 60
DAYS = 75.0

Row = dict[str, Any]


def transfers(count: int = 6_000, rate: float = 0.05, seed: int = 5) -> list[Row]:
    """Transfers in the order of time; a fraud is some 2 times what its wallet usually sends.

    A third of the labels is not known.
    """
    rng = np.random.default_rng(seed)
    wallet = rng.integers(0, WALLETS, count)
    seconds = np.sort(rng.integers(0, round(DAYS * 86_400), count))
    fraud = rng.random(count) < rate
    usual = rng.uniform(20, 60, WALLETS)[wallet] * rng.uniform(0.6, 1.4, count)
    value = usual * np.where(fraud, 2.0, 1.0)
    known = rng.random(count) > 1 / 3
    receiver, fee = rng.integers(0, RECEIVERS, count), rng.uniform(0, 2, count)
    channel = rng.choice(["app", "web"], count)
    return [
        {
            "transfer_id": f"tr-{at:06d}",
            "created_at": (START + timedelta(seconds=int(seconds[at]))).isoformat(),
            "wallet": f"w{wallet[at]:03d}",
            "receiver": f"r{receiver[at]:02d}",
            "value": round(float(value[at]), 2),
            "fee": round(float(fee[at]), 2),
            "channel": str(channel[at]),
            "status": ("fraud" if fraud[at] else "genuine") if known[at] else None,
        }
        for at in range(count)
    ]


def write(path: Path, rows: list[Row]) -> Path:
    """Write rows as CSV, a missing value as nothing, and return the file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
