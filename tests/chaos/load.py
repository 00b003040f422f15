"""Load that goes on while something happens to the stream, and how the workers bear it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.world import World

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Load:
    """Pieces of the history, published one after the other at a pace.

    Args:
        world: where they go.
        pieces: in how many pieces.
        pause_s: between two pieces.
    """

    world: World
    pieces: int
    pause_s: float = 0.05
    _task: asyncio.Task[None] | None = None
    _goes: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self) -> None:
        """Begin to publish."""
        self._goes.set()
        self._task = asyncio.create_task(self._publish())

    async def end(self, within_s: float = 300.0) -> None:
        """Publish what is left without pauses, and wait until all is scored."""
        self.pause_s = 0
        assert self._task is not None
        await asyncio.wait_for(self._task, within_s)
        await self.world.scored(within_s=within_s)

    async def _publish(self) -> None:
        for piece in self.world.history.slices(self.pieces):
            await self.world.feed(piece)
            await asyncio.sleep(self.pause_s)


@asynccontextmanager
async def loaded(world: World, pieces: int = 200, pause_s: float = 0.1) -> AsyncIterator[Load]:
    """Two workers at work under load; afterwards, all that is left is published and scored."""
    await world.two_workers()
    load = Load(world, pieces, pause_s)
    load.begin()
    await world.observer.until(max(world.plan.events // 10, 1), 120)
    yield load
    await load.end()


async def seen_again(world: World, since_s: float, within_s: float) -> float:
    """Return how long after a moment the next new score was seen.

    Raises:
        AssertionError: it took longer.
    """
    before = len(world.observer.scores)
    while len(world.observer.scores) == before:
        if time.monotonic() > since_s + 60 + within_s:
            raise AssertionError(f"nothing was scored for {60 + within_s:.0f} s")
        await asyncio.sleep(0.01)
    took_s = time.monotonic() - since_s
    assert took_s <= within_s, f"scoring went on after {took_s:.1f} s, {within_s:g} s at most"
    return took_s


@dataclass(frozen=True)
class Use:
    """What the workers had used at a moment: seconds of CPU, and bytes of memory."""

    at_s: float
    cpu_s: float
    rss: int

    @classmethod
    def of(cls, world: World) -> Use:
        """Measure the workers that run (Linux)."""
        cpu, rss = 0.0, 0
        for worker in world.workers:
            if worker.pid is None:
                continue
            fields = Path(f"/proc/{worker.pid}/stat").read_text().rsplit(")", 1)[1].split()
            cpu += (int(fields[11]) + int(fields[12])) / _TICK
            rss += int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1]) * _PAGE
        return cls(time.monotonic(), cpu, rss)


@asynccontextmanager
async def borne(world: World, what: str, cores: float = 0.6) -> AsyncIterator[None]:
    """Check that workers wait for a server quietly: alive, without spinning or growing."""
    pids = [worker.pid for worker in world.workers]
    before = Use.of(world)
    yield
    after = Use.of(world)
    assert [worker.pid for worker in world.workers] == pids, f"a worker ended: {what}"
    took_s = after.at_s - before.at_s
    share = (after.cpu_s - before.cpu_s) / max(took_s, 1.0) / len(pids)
    grown = (after.rss - before.rss) / before.rss
    assert share <= cores, f"a worker took {share:.0%} of a core while waiting: {what}"
    assert grown <= 0.25, f"the workers grew by {grown:.0%} while waiting: {what}"
    world.facts.append(f"{share:.0%} of a core each and {grown:+.0%} memory meanwhile")
