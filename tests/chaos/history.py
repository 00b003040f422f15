"""What is fed to the stream, and what the core makes of it offline: the independent truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from engine.bundle import Bundle
from engine.decode import Decoder
from engine.device import Device
from engine.offline import OfflineScorer
from engine.scorer import Scorer
from tests.streams.synthetic import START, Sent

DELAY = timedelta(days=2)
_DAYS = 20
_RECEIVED_MS = 1 << 42
_CHUNK = 2_000
_STEP_MS = 3_600_000


@dataclass(frozen=True)
class Step:
    """Labels as they become known, and the events of the same time."""

    labels: list[Sent]
    events: list[Sent]


@dataclass(frozen=True)
class Piece:
    """A part of the history, in steps: what is published at once is close in time.

    Where labels of days are published before the events of those days, and the events pause for
    longer than ``alignment.idle_s``, the labels are taken first, as is documented.
    """

    steps: list[Step]

    @property
    def events(self) -> int:
        """How many events it has."""
        return sum(len(each.events) for each in self.steps)


@dataclass(frozen=True)
class History:
    """Payments in the order of time, and which are frauds; ids, times and amounts by a seed."""

    events: int
    accounts: int
    seed: int
    note_bytes: int = 0

    @cached_property
    def values(self) -> list[bytes]:
        """The events as JSON."""
        rng = np.random.default_rng(self.seed)
        n = self.events
        cards, places = rng.integers(0, self.accounts, n), rng.integers(0, self.accounts // 4, n)
        note = {"note": "n" * self.note_bytes} if self.note_bytes else {}
        amounts = np.round(rng.lognormal(3.5, 1.0, n), 2).tolist()
        return [
            orjson.dumps(
                {
                    "transaction_id": f"t{at}",
                    "time": _text(time_ms),
                    "card_id": f"card-{cards[at]}",
                    "terminal_id": f"p{places[at]}",
                    "amount": amounts[at],
                    **note,
                }
            )
            for at, time_ms in enumerate(self.times_ms.tolist())
        ]

    @cached_property
    def times_ms(self) -> NDArray[np.int64]:
        """The events' times, rising; int64 ``[events]``."""
        rng = np.random.default_rng([self.seed, 1])
        seconds = np.sort(rng.integers(0, _DAYS * 86_400, self.events))
        return round(START.timestamp()) * 1000 + 1000 * seconds

    @cached_property
    def frauds(self) -> NDArray[np.bool_]:
        """Which events are frauds; bool ``[events]``."""
        return np.random.default_rng([self.seed, 2]).random(self.events) < 0.1

    def slices(self, pieces: int) -> Iterator[Piece]:
        """Yield the history in pieces, each in steps of at most an hour.

        Labels of the last events, which become known after all events, are left out.
        """
        hours = (self.times_ms - self.times_ms[0]) // _STEP_MS
        begins = np.flatnonzero(np.diff(hours)) + 1
        edges = np.linspace(0, self.events, pieces + 1).astype(int)
        known = self.times_ms + round(DELAY.total_seconds() * 1000)
        for start, stop in pairwise(edges.tolist()):
            inner = begins[(begins > start) & (begins < stop)].tolist()
            steps = pairwise([start, *inner, stop])
            yield Piece([self._step(begin, end, known) for begin, end in steps])

    def _step(self, start: int, stop: int, known: NDArray[np.int64]) -> Step:
        """Return these events, and the labels that became known since the ones before them."""
        since = self.times_ms[start - 1] if start else -1
        first, end = np.searchsorted(known, [since, self.times_ms[stop - 1]], side="right")
        labels = [self._label(at, int(known[at])) for at in range(int(first), int(end))]
        return Step(labels, [self._event(at) for at in range(start, stop)])

    def _event(self, at: int) -> Sent:
        value = self.values[at]
        return Sent(orjson.loads(value)["card_id"].encode(), value)

    def _label(self, at: int, known_ms: int) -> Sent:
        body = {"event_id": f"t{at}", "fraud": bool(self.frauds[at]), "known_at": _text(known_ms)}
        return Sent(f"t{at}".encode(), orjson.dumps(body))


@dataclass(frozen=True)
class Truth:
    """What the core says of a history.

    Args:
        scores: event to score.
        states: account to encoded state.
        rings: kind of entity to hash to encoded ring, where anything was added.
    """

    scores: dict[str, float]
    states: dict[str, bytes]
    rings: dict[str, dict[int, bytes]]


def truth_of(bundle: Bundle, history: History) -> Truth:
    """Score a history offline, event after event in the order of time."""
    scorer = OfflineScorer(
        Decoder(bundle.manifest.schema),
        Scorer(bundle, Device.CPU),
        round(DELAY.total_seconds() * 1000),
    )
    labels = history.frauds.astype(np.float32)
    scores: dict[str, float] = {}
    for start in range(0, history.events, _CHUNK):
        part = slice(start, start + _CHUNK)
        found = scorer.score(history.values[part], _RECEIVED_MS, labels[part])
        scores.update(zip(found.columns.event_ids, found.scored.scores.tolist(), strict=True))
    rings = {
        table.shared.name: {each: found for each, found in table.rings() if any(found)}
        for table in scorer.knowledge.tables
    }
    return Truth(scores, dict(scorer.states()), rings)


def bundle_at(folder: Path | str) -> Bundle:
    """Load a bundle."""
    return Bundle.load(Path(folder))


def _text(time_ms: int) -> str:
    moment = START + timedelta(milliseconds=time_ms - round(START.timestamp()) * 1000)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
