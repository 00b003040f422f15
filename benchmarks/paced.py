"""At a steady rate: how long an event waits for its score."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from threading import Timer

from benchmarks.contestants import Contestant
from benchmarks.pacer import Paced
from benchmarks.setup import ROOT, Bench

#: By then, two processes share the partitions and the generator is at work.
_JOINED_S = 12.0

RATES = (200.0, 1_000.0, 5_000.0)


def run_paced(
    bench: Bench,
    contestant: Contestant,
    rates: Sequence[float],
    *,
    group: str,
    partitions: int,
    seconds: float,
    hot_share: float = 0.0,
    accounts: int = 10_000,
    second_stops_after_s: float | None = None,
) -> list[Paced]:
    """Publish at each rate to a topic of this run's own, and return the latencies.

    Args:
        bench: servers and model.
        contestant: who.
        rates: events a second.
        group: names the run.
        partitions: of both topics.
        seconds: of each rate.
        hot_share: how much of the traffic is one account's, whose latencies do not count.
        accounts: how many others there are.
        second_stops_after_s: after this long a second process of the contestant, started with
            the first, is stopped; None for no second one.
    """
    source, scores = f"paced-{group}", f"scores-{group}"
    for topic in (source, scores):
        bench.make_topic(topic, partitions)
    out = bench.directory / f"{group}.json"
    said = {
        "bootstrap": bench.bootstrap,
        "source": source,
        "scores": scores,
        "seconds": seconds,
        "accounts": accounts,
        "hot-share": hot_share,
        "out": out,
    }
    options = [each for name, value in said.items() for each in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "benchmarks.pacer", *options, "--rates", *map(str, rates)]
    limit_s = 90 + len(rates) * (seconds + 20)
    with ExitStack() as stack:
        running = stack.enter_context(contestant.start(bench, source, scores, group))
        if second_stops_after_s is not None:
            second = stack.enter_context(contestant.start(bench, source, scores, group))
            stopping = Timer(_JOINED_S + second_stops_after_s, second.stop)
            stopping.start()
            stack.callback(stopping.join)
        command += ["--pid", str(running.pid)]
        pacing = subprocess.run(command, check=False, cwd=ROOT, timeout=limit_s)
        running.check()
    pacing.check_returncode()
    return [Paced(**each) for each in json.loads(out.read_text())]
