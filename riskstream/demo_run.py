"""What happens in a demo: a history is streamed, and its scores and alerts are followed."""

from __future__ import annotations

import asyncio
import signal
import time
import tomllib
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from engine.decisions import DECISION_NAMES
from engine.errors import HistoryError
from engine.history import History
from engine.manifest import Manifest
from riskstream.options import parse_time
from streams.feed import Entry, Feed, open_feed
from streams.replay import Labels, Progress, replay
from streams.settings import Settings

#: How long to wait for scores after the last event was published.
_PATIENCE_S = 60.0
_RECENT_S = 5.0
_DAY_MS = 86_400_000
_RATE = 1_500.0


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What is streamed.

    Args:
        transactions: the file.
        live_from_ms: events before this time are streamed flat out, later ones paced.
        rate: events a second of the paced part.
        label_delay_ms: how long after its event a label becomes known; None for no labels.
        what: what the events are, in the plural.
        positive: what a positive label says, in the plural.
        decisions: those of the bundle, in the order of rising risk.
        bundle: the folder of the model, where it is not the one that commands take by themselves.
    """

    transactions: Path
    live_from_ms: int
    rate: float
    label_delay_ms: int | None
    what: str = "events"
    positive: str = "positives"
    decisions: tuple[str, ...] = DECISION_NAMES
    bundle: Path | None = None


@dataclass(slots=True)
class DemoState:
    """How far the demo is; what the views show.

    Args:
        total: events of the history.
        what: what the events are, in the plural.
        names: the bundle's decisions, in the order of rising risk.
        published: events published so far.
        scored: scores seen so far.
        live: whether the paced part runs.
        decisions: scores of the paced part by decision.
        newest: the newest alerts, newest first.
        latencies_ms: from publication to score, of the paced part's scores.
    """

    total: int
    what: str = "events"
    names: tuple[str, ...] = DECISION_NAMES
    published: int = 0
    scored: int = 0
    alerts: int = 0
    live: bool = False
    event_time_ms: int = 0
    started_s: float = field(default_factory=time.monotonic)
    decisions: Counter[str] = field(default_factory=Counter)
    newest: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=50))
    latencies_ms: list[int] = field(default_factory=list)
    _marks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=512))

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first event."""
        return time.monotonic() - self.started_s

    def mark(self) -> None:
        """Note the present count of scores, for the rate."""
        self._marks.append((time.monotonic(), self.scored))

    @property
    def events_per_s(self) -> float:
        """Scores a second over the last seconds."""
        now = time.monotonic()
        while len(self._marks) > 2 and now - self._marks[0][0] > _RECENT_S:
            self._marks.popleft()
        if len(self._marks) < 2:
            return 0.0
        (start_s, start), (end_s, end) = self._marks[0], self._marks[-1]
        return (end - start) / max(end_s - start_s, 1e-9)

    def latency_ms(self, q: float) -> float | None:
        """Return a percentile of the latencies; None before the first."""
        return float(np.percentile(self.latencies_ms, q)) if self.latencies_ms else None


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What came of a demo.

    Args:
        state: its last state.
        decisions: of the paced part: event id to its decision.
        missing: events without a score.
        seconds: how long it took.
    """

    state: DemoState
    decisions: dict[str, str]
    missing: int
    seconds: float


def load_plan(
    folder: Path, rate: float | None, manifest: Manifest, bundle: Path | None = None
) -> DemoPlan:
    """Read a pack's ``demo.toml``. Raises :class:`engine.errors.HistoryError`.

    Args:
        folder: with the file.
        rate: events a second of the paced part; None for what the file says.
        manifest: of the model that scores them.
        bundle: its folder, where it is not the one that commands take by themselves.
    """
    try:
        raw = tomllib.loads((folder / "demo.toml").read_text(encoding="utf-8"))
        live_from_ms = parse_time("live_from", raw["live_from"])
        days = raw.get("labels_delay_days")
        delay_ms = None if days is None else round(float(days) * _DAY_MS)
        return DemoPlan(
            folder / raw["transactions"],
            live_from_ms or 0,
            float(raw.get("rate", _RATE)) if rate is None else rate,
            delay_ms,
            what=str(raw.get("what", "events")),
            positive=str(raw.get("positives", "positives")),
            decisions=manifest.decisions,
            bundle=bundle,
        )
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise HistoryError(
            f"a demo must have a demo.toml with transactions and live_from, however: {folder}: "
            f"{error}"
        ) from None


async def run(
    settings: Settings,
    plan: DemoPlan,
    history: History,
    on_change: Callable[[DemoState], None],
    directory: Path,
) -> DemoResult:
    """Stream a history and follow what comes of it.

    Args:
        settings: of the running worker.
        plan: what is streamed, and how fast.
        history: the events.
        on_change: is told whenever something changed.
        directory: where ``alerts.jsonl`` goes.
    """
    # SIGTERM is to end the loop as asyncio lets Ctrl-C end it: by cancelling this task, so that
    # clients are closed before the loop is. Where Ctrl-C is ignored, as in a shell's background,
    # SIGTERM is not.
    interrupt = signal.getsignal(signal.SIGINT)
    if callable(interrupt):
        signal.signal(signal.SIGTERM, interrupt)
    topics = settings.topics
    state = DemoState(len(history), plan.what, plan.decisions)
    split = int(np.searchsorted(history.event_time_ms, plan.live_from_ms))
    async with open_feed(settings, [topics.scores, topics.alerts], None) as feed:
        follower = _Follower(state, feed, settings, plan, on_change)
        with (directory / "alerts.jsonl").open("wb") as file:
            following = asyncio.create_task(follower.follow(file))
            try:
                await _stream(settings, history, split, plan, follower)
                await follower.wait_for(len(history))
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
    missing = state.total - state.scored
    return DemoResult(state, follower.decisions, missing, state.elapsed_s)


async def _stream(
    settings: Settings, history: History, split: int, plan: DemoPlan, follower: _Follower
) -> None:
    state = follower.state
    past, live = history.slice(0, split), history.slice(split, len(history))

    def on_progress(progress: Progress) -> None:
        state.published = done + progress.published
        state.event_time_ms = progress.event_time_ms

    done, labels = 0, Labels(plan.label_delay_ms)
    await replay(settings, past, None, on_progress, labels)
    await follower.wait_for(split)
    done, state.live = split, True
    speed = _speed(live.event_time_ms, plan.rate)
    await replay(settings, live, speed, on_progress, labels)


def _speed(times_ms: NDArray[np.int64], rate: float) -> float:
    """Return how many times faster than life events come at ``rate`` a second on the average."""
    if len(times_ms) < 2:
        return 1.0
    span_s = max(int(times_ms[-1] - times_ms[0]) / 1000, 1.0)
    return span_s / (len(times_ms) / rate)


class _Follower:
    """Follows the scores and alerts of a demo."""

    def __init__(
        self,
        state: DemoState,
        feed: Feed,
        settings: Settings,
        plan: DemoPlan,
        on_change: Callable[[DemoState], None],
    ) -> None:
        self.state, self._feed, self._on_change = state, feed, on_change
        self._grown = asyncio.Event()
        self._scores_topic = settings.topics.scores
        self._live_from_ms = plan.live_from_ms
        self.decisions: dict[str, str] = {}

    async def follow(self, file: Any) -> None:
        """Take in scores and alerts for ever; write the alerts to a file."""
        while True:
            entries = await self._feed.poll()
            for entry in entries:
                if entry.topic == self._scores_topic:
                    self._add_score(entry)
                else:
                    self._add_alert(entry)
                    file.write(orjson.dumps(entry.body) + b"\n")
            if entries:
                self._grown.set()
            self.state.mark()
            self._on_change(self.state)

    async def wait_for(self, scored: int) -> None:
        """Wait until so many events have a score, or no more come."""
        while self.state.scored < scored:
            self._grown.clear()
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await self._grown.wait()
            except TimeoutError:
                return

    def _add_score(self, entry: Entry) -> None:
        body, state = entry.body, self.state
        state.scored += 1
        if body["event_time_ms"] >= self._live_from_ms:
            state.decisions[body["decision"]] += 1
            state.latencies_ms.append(entry.published_ms - body["published_ms"])
            self.decisions[body["event_id"]] = body["decision"]

    def _add_alert(self, entry: Entry) -> None:
        self.state.alerts += 1
        self.state.newest.appendleft(entry.body)
