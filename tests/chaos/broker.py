"""Kafka away and back, topics that gain partitions and lose records, and records too large."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.structs import TopicPartition

from tests.chaos.checks import check
from tests.chaos.load import borne, loaded, seen_again
from tests.chaos.world import SESSION_S, World
from tests.waiting import wait_for_async


def away(seconds: float) -> Callable[[World], Awaitable[None]]:
    """Return the scenario of a broker that is killed, and comes back with its data."""

    async def scenario(world: World) -> None:
        async with loaded(world):
            await asyncio.to_thread(world.node.kill)
            async with borne(world, f"Kafka away for {seconds:g} s"):
                await asyncio.sleep(seconds)
            await asyncio.to_thread(world.node.start)
            # The members join their group anew, and a transaction that was begun is settled.
            took_s = await seen_again(world, time.monotonic(), 2 * SESSION_S + 10)
            world.facts.append(f"scored again {took_s:.1f} s after Kafka was back")
        await check(world)

    return scenario


async def grows(world: World) -> None:
    """The topic of events gains partitions: every event is scored, moved accounts begin anew."""
    topic, before = world.stream.settings.topics.transactions, world.plan.partitions
    async with loaded(world):
        admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka.bootstrap)
        await admin.start()
        await admin.create_partitions({topic: NewPartitions(before + 2)})
        await admin.close()
        await world.knows(topic, before + 2)
    seen = world.observer
    assert not seen.letters, f"{len(seen.letters)} dead letters, the first {seen.letters[0]}"
    assert len(seen.scores) == world.plan.events, f"{len(seen.scores)} events were scored"
    assert not seen.changed
    lines = world.log_lines("has more partitions")
    assert lines, "no worker has said that the topic has more partitions"
    moved = sum([await world.end_of(TopicPartition(topic, before + at)) for at in range(2)])
    assert moved, "no event went to a new partition"
    world.facts.append(
        f"{len(seen.scores):,} events scored, {moved:,} of them from the two new partitions"
    )


async def expires(world: World) -> None:
    """Kafka deletes records before they are read: told exactly, all others are scored."""
    pieces = list(world.history.slices(2))
    await world.two_workers()
    await world.feed(pieces[0])
    await world.scored()
    for worker in world.workers:
        await asyncio.to_thread(worker.stop)
    world.workers.clear()
    await world.feed(pieces[1])
    topic = world.stream.settings.topics.transactions
    tp = TopicPartition(topic, world.rng.randrange(world.plan.partitions))
    lost = await _delete_half(world, tp)
    world.start_worker()
    world.start_worker()
    await world.scored(1 - lost / world.fed)
    # Who takes the partition over before anything after the gap was scored tells it too.
    lines = world.log_lines("were deleted before they were scored")
    assert lines, f"{lost} events are gone, and no log says so"
    assert len(lines) <= len(world.workers), f"a worker says it more than once: {lines}"
    for line in lines:
        said = re.search(rf"(\d+) events of partition {tp.partition} of {topic} were deleted", line)
        assert said is not None, f"the log names another partition than {tp.partition}: {line}"
        assert int(said[1]) == lost, f"{lost} events are gone, and the log says: {line}"
    assert len(world.observer.scores) == world.fed - lost
    # What became known of a deleted event is told of too.
    said_of = {(*each.headers[0], *each.headers[2]) for each in world.observer.letters}
    labels = world.stream.settings.topics.labels
    assert said_of <= {("reason", b"unknown_event", "topic", labels.encode())}, said_of
    world.facts.append(
        f"{lost:,} events of partition {tp.partition} deleted, and told; "
        f"{len(world.observer.letters):,} labels of deleted events are dead letters"
    )


async def _delete_half(world: World, tp: TopicPartition) -> int:
    """Delete half of the records of a partition that are not read yet; return how many."""
    end = await world.end_of(tp)
    position = sum(1 for each in world.observer.scores.values() if each.partition == tp.partition)
    before = (position + end) // 2
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka.bootstrap)
    await admin.start()
    await admin.delete_records({tp: RecordsToDelete(before_offset=before)})
    await admin.close()
    return before - position


async def too_large(world: World) -> None:
    """Alerts that are larger than their topic takes go without their events."""
    async with loaded(world):
        pass
    found = world.observer.alerts

    async def complete() -> bool:
        return len(found) >= world.plan.events

    await wait_for_async(complete, 30, "an alert of each event")
    whole = [name for name, each in found.items() if b"event_too_large" not in each.said]
    assert not whole, f"{len(whole):,} alerts are small enough with their events"
    world.facts.append(f"{len(found):,} alerts without their events")
    await check(world)
