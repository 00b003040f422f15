"""Everything that comes out of a stream, read while it is disturbed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import ConsumerRecord

from tests.streams.harness import Stream
from tests.waiting import wait_for_async

TOLERANCE = 1e-5

#: What may differ when an event is scored again.
_TIMES = ("received_ms", "scored_ms", "published_ms")


@dataclass(frozen=True, slots=True)
class Result:
    """A score or an alert, without its times.

    Args:
        score: its score.
        said: everything else.
        partition: where it stands.
        seen_s: when it was read, by the monotonic clock.
    """

    score: float
    said: bytes
    partition: int
    seen_s: float

    @property
    def told(self) -> str:
        """It in short."""
        return f"{self.score:.6g} {self.said.decode()}"


@dataclass
class Observer:
    """Reads scores, alerts and dead letters of a stream.

    Attributes:
        scores: the first of each event.
        alerts: the first of each event.
        letters: dead letters.
        repeats: how many scores and alerts came again, the same.
        changed: events whose result came again and was another, with both.
        shown: duplicates marked as such: the input held an event twice.
        newest: when the last new score of each partition was seen, by the monotonic clock.
    """

    stream: Stream
    scores: dict[str, Result] = field(default_factory=dict)
    alerts: dict[str, Result] = field(default_factory=dict)
    letters: list[ConsumerRecord] = field(default_factory=list)
    repeats: int = 0
    changed: list[str] = field(default_factory=list)
    shown: int = 0
    newest: dict[int, float] = field(default_factory=dict)
    _task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to read."""
        self._task = asyncio.create_task(self._read())

    async def stop(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, events: int, within_s: float) -> None:
        """Wait until so many events have a score.

        Raises:
            TimeoutError: they have not.
        """

        async def enough() -> bool:
            if self._task is not None and self._task.done():
                self._task.result()
            return len(self.scores) >= events

        try:
            await wait_for_async(enough, within_s, f"{events:,} events to be scored")
        except TimeoutError as error:
            raise TimeoutError(
                f"{error}; {len(self.scores):,} are, and there are {len(self.letters)} dead "
                f"letters, {self.letters[:1]} the first"
            ) from None

    async def _read(self) -> None:
        async with self.stream.reader() as (consumer, lists):
            while True:
                for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                    kind = lists[tp.topic]
                    if kind == "dead_letters":
                        self.letters += records
                    else:
                        self._take(self.scores if kind == "scores" else self.alerts, records)

    def _take(self, known: dict[str, Result], records: list[ConsumerRecord]) -> None:
        now = time.monotonic()
        for record in records:
            body: dict[str, Any] = orjson.loads(record.value)
            for name in _TIMES:
                body.pop(name, None)
            if body.get("duplicate"):
                self.shown += 1
                continue
            event, score = body["event_id"], body.pop("score")
            # The reasons' shares vary with the batch as the score does: in the last digits.
            for reason in body.get("reasons", ()):
                reason.pop("log_odds", None)
            result = Result(score, orjson.dumps(body), record.partition, now)
            before = known.setdefault(event, result)
            if before is result:
                self.newest[record.partition] = now
                continue
            self.repeats += 1
            if before.said != result.said or abs(before.score - score) > TOLERANCE:
                self.changed.append(f"{event}: {before.told} became {result.told}")
