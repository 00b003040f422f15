"""The state store away, empty, older, full, read-only and slow."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis

from streams.embedded.processes import choose_port
from tests.chaos.checks import check
from tests.chaos.load import borne, loaded, seen_again
from tests.chaos.world import World

#: How soon after the store is back events must be scored again.
BACK_WITHIN_S = 2.0


def away(seconds: float) -> Callable[[World], Awaitable[None]]:
    """Return the scenario of a store that is killed, and comes back with all it had."""

    async def scenario(world: World) -> None:
        async with loaded(world):
            await asyncio.to_thread(world.store.kill)
            async with borne(world, f"the store away for {seconds:g} s"):
                await asyncio.sleep(seconds)
            await asyncio.to_thread(world.store.start)
            took_s = await seen_again(world, time.monotonic(), BACK_WITHIN_S)
            world.facts.append(f"scored again {took_s:.1f} s after the store was back")
        await check(world)

    return scenario


async def empty(world: World) -> None:
    """The store is restarted without anything: all states are rebuilt from the topic."""
    async with loaded(world):
        await asyncio.to_thread(world.store.kill)
        shutil.rmtree(world.store.directory / "appendonlydir")
        await asyncio.to_thread(world.store.start)
    await check(world)
    _told_lost(world)


async def snapshot(world: World) -> None:
    """The store is restored from an older copy of its files: the tail is replayed."""
    files = world.store.directory / "appendonlydir"
    copy = world.directory / "snapshot"
    async with loaded(world):
        shutil.copytree(files, copy)
        await world.observer.until(world.plan.events // 2, 120)
        await asyncio.to_thread(world.store.kill)
        shutil.rmtree(files)
        shutil.copytree(copy, files)
        await asyncio.to_thread(world.store.start)
    await check(world)
    _told_lost(world)


async def full(world: World) -> None:
    """The store takes no more writes (maxmemory, noeviction), until it has more memory."""
    async with loaded(world), _redis(world) as redis:
        await redis.config_set("maxmemory", "1mb")
        async with borne(world, "the store out of memory"):
            await asyncio.sleep(5)
        # One whose events all wait for the other's has nothing to write.
        assert not await _ready(world), "all workers say that they are ready, and the store is full"
        await redis.config_set("maxmemory", "0")
        took_s = await seen_again(world, time.monotonic(), BACK_WITHIN_S)
        world.facts.append(f"scored again {took_s:.1f} s after there was memory")
    await check(world)


async def read_only(world: World) -> None:
    """The store is demoted to a replica, and promoted again."""
    async with loaded(world), _redis(world) as redis:
        await redis.execute_command("REPLICAOF", "127.0.0.1", str(choose_port()))
        async with borne(world, "the store read-only"):
            await asyncio.sleep(5)
        await redis.execute_command("REPLICAOF", "NO", "ONE")
        took_s = await seen_again(world, time.monotonic(), BACK_WITHIN_S)
        world.facts.append(f"scored again {took_s:.1f} s after it was promoted")
    await check(world)


async def slow(world: World) -> None:
    """Every answer of the store takes 100 ms for a while."""
    assert world.proxy is not None
    async with loaded(world):
        world.proxy.delay_s = 0.05
        before, began_s = len(world.observer.scores), time.monotonic()
        await asyncio.sleep(10)
        rate = (len(world.observer.scores) - before) / (time.monotonic() - began_s)
        assert rate > 0, "nothing was scored while the store was slow"
        world.proxy.delay_s = 0.0
        world.facts.append(f"{rate:,.0f} events/s while each answer took 100 ms")
    await check(world)


def _told_lost(world: World) -> None:
    lines = world.log_lines("the state store lost its last writes")
    assert lines, "no worker has said that the store lost its last writes"


async def _ready(world: World) -> bool:
    pages = [await asyncio.to_thread(worker.get, "/readyz") for worker in world.workers]
    return all(page is not None for page in pages)


def _redis(world: World) -> Redis:
    return Redis.from_url(world.store.url)
