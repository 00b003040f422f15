"""Workers that die, stop and are paused, under load."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter

from tests.chaos.checks import check
from tests.chaos.load import Load
from tests.chaos.world import SESSION_S, World

ACTIONS = ("SIGKILL", "SIGTERM", "SIGSTOP")

#: How long after the session timeout a killed worker's partitions may wait.
TAKEN_WITHIN_S = 3.0


async def kills(world: World) -> None:
    """Strike one of two workers at random, again and again, while events come."""
    strikes, done = world.plan.strikes, Counter[str]()
    world.start_worker()
    world.start_worker()
    for at, piece in enumerate(world.history.slices(strikes + 1)):
        await world.feed(piece)
        if at == strikes:
            break
        before = world.fed - piece.events
        wanted = before + round(piece.events * world.rng.random())
        await world.observer.until(wanted, 180)
        action, place = world.rng.choice(ACTIONS), world.rng.randrange(2)
        await strike(world, place, action)
        done[action] += 1
    await world.scored(within_s=300)
    await check(world)
    world.facts.append(", ".join(f"{count} {name}" for name, count in sorted(done.items())))


async def strike(world: World, place: int, action: str) -> None:
    """Do something to a worker, and see to it that there are two again."""
    worker = world.workers[place]
    if action == "SIGSTOP":
        worker.signal(signal.SIGSTOP)
        await asyncio.sleep(SESSION_S + 1.0 + 2.0 * world.rng.random())
        worker.signal(signal.SIGCONT)
        return
    if action == "SIGKILL":
        worker.kill()
    else:
        await asyncio.to_thread(worker.stop)
    world.workers.remove(worker)
    world.start_worker()


async def takeover(world: World) -> None:
    """Kill one of two workers, and measure until all its partitions are scored again."""
    await world.two_workers()
    load = Load(world, pieces=400, pause_s=0.1)
    load.begin()
    await world.observer.until(world.plan.events // 20, 120)
    longest = 0.0
    for _ in range(world.plan.strikes):
        worker = world.workers[world.rng.randrange(2)]
        lost = set(worker.partitions)
        worker.kill()
        killed_s = time.monotonic()
        world.workers.remove(worker)
        longest = max(longest, await _scored_again(world, lost, killed_s))
        world.start_worker()
        await world.shared()
    await load.end()
    limit_s = SESSION_S + TAKEN_WITHIN_S
    assert longest <= limit_s, f"a killed worker's partitions were scored after {longest:.1f} s"
    await check(world)
    world.facts.append(
        f"a killed worker's partitions scored again after {longest:.1f} s at most, with a session "
        f"timeout of {SESSION_S:g} s"
    )


async def _scored_again(world: World, lost: set[int], killed_s: float) -> float:
    """Return how long after a death all partitions had new scores."""
    end_s = killed_s + 120
    # What was published before the death may be seen just after it.
    settled_s = killed_s + 0.5
    waiting = set(lost)
    while waiting:
        newest = world.observer.newest
        waiting = {each for each in lost if newest.get(each, 0.0) <= settled_s}
        if time.monotonic() > end_s:
            raise TimeoutError(f"partitions {waiting} are not scored 120 s after a worker's death")
        await asyncio.sleep(0.02)
    return time.monotonic() - killed_s
