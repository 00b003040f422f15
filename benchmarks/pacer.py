"""A process that publishes events at a steady rate and reads the scores that come of them.

    python -m benchmarks.pacer --help

An event's latency is from the moment it is handed to the client to the moment its score is read,
so what the generator itself is late by is no part of it; that is told beside it. Generator and
reader are two threads of librdkafka's client. They take as little of the machine as they can, which
the contestant has to share with them: scores are kept as they come, and looked at afterwards.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread

import numpy as np
import orjson
from confluent_kafka import Consumer, Message, Producer
from numpy.typing import NDArray

from benchmarks.machine import cpu_s
from benchmarks.traffic import payments

_WARM_UP_S = 2.0
_AFTER_S = 5.0
_READY_WITHIN_S = 60.0

#: The most scores that are taken at once, all of which had come by then.
_AT_ONCE = 10_000
#: The generator sleeps no shorter than this, calm and busy: what is due meanwhile goes together.
_LEAST_SLEEP_S, _LEAST_BUSY_SLEEP_S = 0.0002, 0.001
#: Up to this rate the generator holds nothing back. Above it, it waits for more as its client does
#: by itself (5 ms, as Java's does), which counts as latency: without, its many small requests take
#: more of the broker than all that a contestant does.
_CALM_PER_S = 5_000.0


@dataclass(frozen=True)
class Paced:
    """What came of one rate.

    Args:
        rate: events a second that were wanted.
        achieved: that were published.
        late_p99_ms: how late the generator was.
        sent, missing: events that count, and those without a score within five seconds.
        p50_ms, p99_ms, p999_ms, worst_ms: from publishing to reading the score.
        cpu_us: of the contestant's process, for each event.
    """

    rate: float
    achieved: float
    late_p99_ms: float
    sent: int
    missing: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    worst_ms: float
    cpu_us: float


class Reader:
    """Notes when each score is read."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "log_level": 0,
                "group.id": f"{topic}-reader",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        self._consumer.subscribe([topic])
        self._stop = Event()
        self._thread = Thread(target=self._read, daemon=True)
        self._came: deque[tuple[float, list[Message]]] = deque()
        self._found: dict[str, float] = {}
        #: How many scores have been read.
        self.count = 0
        self._thread.start()

    def found(self) -> dict[str, float]:
        """Return when each event's score was first read, in seconds of the performance counter."""
        while self._came:
            at_s, messages = self._came.popleft()
            for message in messages:
                self._found.setdefault(orjson.loads(message.value() or b"")["event_id"], at_s)
        return self._found

    def has(self, events: Sequence[str], count: int) -> bool:
        """Whether all these events have a score; not looked at before so many have been read."""
        return self.count >= count and all(map(self.found().__contains__, events))

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _read(self) -> None:
        while not self._stop.is_set():
            first = self._consumer.poll(0.1)
            if first is not None:
                self._keep([first])
                self._keep(self._consumer.consume(_AT_ONCE, 0))

    def _keep(self, messages: list[Message]) -> None:
        at_s = time.perf_counter()
        scores = [each for each in messages if not each.error()]
        if scores:
            self._came.append((at_s, scores))
            self.count += len(scores)


class Generator:
    """Publishes events at a steady rate."""

    def __init__(self, bootstrap: str, topic: str, accounts: int, hot_share: float) -> None:
        settings = {
            "bootstrap.servers": bootstrap,
            "log_level": 0,
            "partitioner": "murmur2_random",
            # As the Java client has it. Without a bound, each event is a request of its own, and
            # what is measured is the broker.
            "max.in.flight.requests.per.connection": 5,
            "acks": "all",
        }
        self._calm, self._busy = Producer({**settings, "linger.ms": 0}), Producer(settings)
        self._topic, self._accounts, self._hot_share = topic, accounts, hot_share

    def send(self, n: int, rate: float, prefix: str) -> tuple[NDArray[np.float64], list[bytes]]:
        """Publish ``n`` events; return when each was handed over and was due, and its account.

        Returns:
            Float64 ``[n, 2]``: seconds of the performance counter; and ``n`` keys.
        """
        records = payments(
            n,
            self._accounts,
            prefix=prefix,
            hot_share=self._hot_share,
            rate=rate,
            begins_s=time.time(),
        )
        messages = [{"key": each.key, "value": each.value} for each in records]
        due_s = time.perf_counter() + 0.01 + np.arange(n) / rate
        handed_s = self._hand_over(messages, due_s.tolist(), is_calm=rate <= _CALM_PER_S)
        return np.stack([handed_s, due_s], axis=1), [each.key or b"" for each in records]

    def _hand_over(
        self,
        messages: Sequence[dict[str, bytes | None]],
        due_s: Sequence[float],
        *,
        is_calm: bool,
    ) -> NDArray[np.float64]:
        """Hand messages to the client as they are due; return when each was."""
        producer = self._calm if is_calm else self._busy
        least_s = _LEAST_SLEEP_S if is_calm else _LEAST_BUSY_SLEEP_S
        handed_s, at = np.empty(len(messages)), 0
        while at < len(messages):
            # Also where there is never time to sleep: what was sent leaves the client's queue here.
            producer.poll(0)
            now_s = time.perf_counter()
            until = bisect_right(due_s, now_s, at)
            if until <= at:
                time.sleep(max(due_s[at] - now_s, least_s))
                continue
            handed_s[at:until] = now_s
            if producer.produce_batch(self._topic, messages[at:until]) < until - at:
                raise RuntimeError(f"the client took too few of {until - at:,} events")
            at = until
        producer.flush(10)
        return handed_s


def measure(generator: Generator, reader: Reader, rate: float, seconds: float, pid: int) -> Paced:
    """Publish at a rate, and return the latencies once all scores are there."""
    prefix = f"{rate:g}-{time.time_ns()}-"
    n, warm = round(rate * (seconds + _WARM_UP_S)), round(rate * _WARM_UP_S)
    before_s, wanted = cpu_s(pid), reader.count + n
    times, keys = generator.send(n, rate, prefix)
    names = [f"{prefix}{at}" for at in range(n)]
    deadline_s = time.perf_counter() + _AFTER_S
    while time.perf_counter() < deadline_s and not reader.has(names, wanted):
        time.sleep(0.05)
    taken_s = cpu_s(pid) - before_s
    counted, found = [at for at in range(warm, n) if keys[at] != b"hot"], reader.found()
    latencies = [found[names[at]] - times[at, 0] for at in counted if names[at] in found]
    if not latencies:
        raise SystemExit(f"none of {len(counted):,} events at {rate:g}/s had a score in time")
    p50, p99, p999 = np.percentile(np.array(latencies) * 1000, [50, 99, 99.9]).tolist()
    span_s = times[-1, 0] - times[warm, 0]
    return Paced(
        rate=rate,
        achieved=(n - 1 - warm) / span_s,
        late_p99_ms=float(np.percentile(times[warm:, 0] - times[warm:, 1], 99) * 1000),
        sent=len(counted),
        missing=len(counted) - len(latencies),
        p50_ms=p50,
        p99_ms=p99,
        p999_ms=p999,
        worst_ms=max(latencies) * 1000,
        cpu_us=taken_s / n * 1e6,
    )


def wait_until_scored(generator: Generator, reader: Reader) -> None:
    """Publish an event now and then until one has a score."""
    end_s = time.perf_counter() + _READY_WITHIN_S
    while not reader.count:
        if time.perf_counter() > end_s:
            raise TimeoutError(f"no event had a score within {_READY_WITHIN_S:g} s")
        generator.send(1, 1000, f"ready-{time.time_ns()}-")
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bootstrap", "source", "scores"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--pid", type=int, required=True, help="the contestant's process")
    parser.add_argument("--rates", type=float, nargs="+", required=True)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--hot-share", type=float, default=0.0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    # Its pauses would be the contestants' latencies.
    gc.disable()
    reader = Reader(given.bootstrap, given.scores)
    generator = Generator(given.bootstrap, given.source, given.accounts, given.hot_share)
    wait_until_scored(generator, reader)
    found = [measure(generator, reader, rate, given.seconds, given.pid) for rate in given.rates]
    reader.close()
    given.out.write_text(json.dumps([asdict(each) for each in found]), encoding="utf-8")


if __name__ == "__main__":
    main()
