"""A cluster of three nodes that loses them, one after the other."""

from __future__ import annotations

import asyncio
import time

from aiokafka.admin import AIOKafkaAdminClient

from tests.chaos.checks import check
from tests.chaos.load import loaded, seen_again
from tests.chaos.world import SESSION_S, World
from tests.waiting import wait_for_async

#: What a cluster takes to move what a killed node led, and clients to learn of it.
MOVED_WITHIN_S = 30.0


async def node_lost(world: World) -> None:
    """Kill each node in turn, at random moments, and let it come back before the next."""
    order = list(range(len(world.cluster.nodes)))
    world.rng.shuffle(order)
    longest = 0.0
    async with loaded(world, pieces=400):
        for at in order:
            node = world.cluster.nodes[at]
            await asyncio.to_thread(node.kill)
            longest = max(longest, await seen_again(world, time.monotonic(), MOVED_WITHIN_S))
            await asyncio.sleep(SESSION_S * world.rng.random())
            await asyncio.to_thread(node.start)
            await _in_sync(world)
    await check(world)
    world.facts.append(f"scored again {longest:.1f} s after a node was killed at most")


async def _in_sync(world: World) -> None:
    """Wait until every partition has all its replicas again."""
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka.bootstrap)
    await admin.start()
    nodes = len(world.cluster.nodes)

    async def complete() -> bool:
        topics = await admin.describe_topics(list(world.partitions))
        return all(len(each["isr"]) == nodes for topic in topics for each in topic["partitions"])

    try:
        await wait_for_async(complete, 120, "all replicas to be in sync")
    finally:
        await admin.close()
