"""How much of the machine others take: the same small work, timed again and again.

    python -m benchmarks.steadiness

Where a core's other thread is somebody else's, as on most rented machines, all work takes longer
while that thread is busy; and what a core's caches hold is lost within milliseconds, so that code
that runs once for each batch runs as if for the first time. No load average shows either.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from statistics import median

import numpy as np

#: Some 5 to 10 ms of arithmetic that needs no memory: the caches are left to others.
_ROUNDS = 30_000
_TIMES = 25

#: How often the command tries it, and how long it waits in between.
_TRIES, _EVERY_S = 20, 2.0

_VALUES = np.random.default_rng(0).integers(0, 10_000, 256)


@dataclass(frozen=True)
class Steadiness:
    """How long the small work took, in µs; medians.

    Args:
        at_once_us: right after itself.
        after_us: after some milliseconds of other work.
    """

    at_once_us: float
    after_us: float


def probe() -> Steadiness:
    """Try it, in a third of a second."""
    at_once = [_timed_us() for _ in range(10 * _TIMES)]
    after = []
    for _ in range(_TIMES):
        hashlib.pbkdf2_hmac("sha256", b"steady", b"steady", _ROUNDS)
        after.append(_timed_us())
    return Steadiness(median(at_once), median(after))


def _timed_us() -> float:
    began_s = time.perf_counter()
    for _ in range(3):
        np.argsort(_VALUES, kind="stable")
        np.flatnonzero(_VALUES[1:] != _VALUES[:-1])
        np.unique(_VALUES)
        np.cumsum(_VALUES)
    return (time.perf_counter() - began_s) * 1e6


def main() -> None:
    print("right after itself / after some ms of other work, us")
    for _ in range(_TRIES):
        found = probe()
        print(f"{found.at_once_us:.0f} / {found.after_us:.0f}", flush=True)
        time.sleep(_EVERY_S)


if __name__ == "__main__":
    main()
