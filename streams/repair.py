"""Going on without what was lost: positions that Kafka cannot rebuild states from are moved on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from engine.errors import BrokerUnavailable, StreamError
from engine.manifest import Manifest
from streams.committed import committed
from streams.kafka import client_options, ensure_topics, start_client
from streams.losses import Loss, loss_of
from streams.ranges import Held
from streams.settings import Settings
from streams.store.base import PartitionWrite, Store
from streams.store.generations import named
from streams.stores import new_generations, new_store, reach_store


class Repair:
    """Finds losses of an application's states and accepts them.

    Args:
        settings: the configuration.
        manifest: of its model.
        generation: the generation of states in use.
    """

    def __init__(self, settings: Settings, manifest: Manifest, generation: int) -> None:
        self._settings = settings
        self._note = named(manifest.stored_digest, generation)
        topics = settings.topics
        self._stores: dict[str, Store] = {
            topic: new_store(settings, manifest, topic, generation)
            for topic in (topics.transactions, topics.labels)
        }

    async def losses(self) -> list[Loss]:
        """Return what cannot be rebuilt, by topic and partition.

        Raises:
            Unavailable: Kafka or the store does not answer.
        """
        counts = await ensure_topics(self._settings)
        places = [(topic, each) for topic in self._stores for each in range(counts[topic])]
        held = await _held(self._settings, places)
        told = await committed(self._settings.broker, self._settings.app.id, places)
        found = []
        for topic, store in self._stores.items():
            positions = await store.positions(range(counts[topic]))
            for partition, position in sorted(positions.items()):
                place = (topic, partition)
                loss = loss_of(*place, position, held[place], told.get(place), self._note)
                found += [] if loss is None else [loss]
        return found

    async def accept(self, losses: Sequence[Loss]) -> None:
        """Move positions to the first record that the topic still holds.

        Workers that wait with these partitions go on within seconds.

        Raises:
            StreamError: a position has moved meanwhile.
            StoreUnavailable: the store does not answer.
        """
        for loss in losses:
            write = PartitionWrite(loss.partition, loss.position, loss.beginning, {})
            (outcome,) = await self._stores[loss.topic].write([write])
            if not outcome.done:
                raise StreamError(
                    f"the position of partition {loss.partition} of {loss.topic} must be "
                    f"{loss.position}, however: it is {outcome.stored} now; look again"
                )

    async def close(self) -> None:
        """Give back connections."""
        for store in self._stores.values():
            await store.close()


async def open_repair(settings: Settings, manifest: Manifest) -> Repair:
    """Return the repair of the states in use."""
    generations = new_generations(settings, manifest)
    try:
        return Repair(settings, manifest, await reach_store(generations, settings))
    finally:
        await generations.close()


async def _held(
    settings: Settings, places: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], Held]:
    tps = [TopicPartition(*each) for each in places]
    consumer = AIOKafkaConsumer(**client_options(settings.broker))
    try:
        await start_client(consumer, settings.broker)
        beginnings = await consumer.beginning_offsets(tps)
        ends = await consumer.end_offsets(tps)
    except KafkaError as error:
        raise BrokerUnavailable(
            f"Kafka must tell the offsets of the topics, however: {type(error).__name__}: {error}"
        ) from None
    finally:
        await consumer.stop()
    return {(tp.topic, tp.partition): Held(beginnings[tp], ends[tp]) for tp in tps}
