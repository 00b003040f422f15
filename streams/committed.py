"""What Kafka holds of a consumer group: how far each partition was processed, and for which states.

The offsets that the engine commits carry a note of the states they belong to. So a state store that
lost its states can be told from states that are to begin anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from engine.errors import BrokerUnavailable
from streams.kafka import client_options, start_client
from streams.settings import Broker


@dataclass(frozen=True, slots=True)
class Committed:
    """An offset that was committed.

    Args:
        offset: the next record to process.
        note: what was written beside it; empty where nothing was.
    """

    offset: int
    note: str


async def committed(
    broker: Broker, group: str, partitions: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], Committed]:
    """Return the offsets of partitions that a group has committed; others are left out.

    Raises:
        BrokerUnavailable: Kafka does not answer.
    """
    asked = [TopicPartition(*each) for each in partitions]
    if not asked:
        return {}
    admin = AIOKafkaAdminClient(**client_options(broker))
    try:
        async with asyncio.timeout(broker.request_timeout_s):
            await start_client(admin, broker)
            found = await admin.list_consumer_group_offsets(group, partitions=asked)
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerUnavailable(
            f"Kafka must tell the offsets of the group {group}, however: "
            f"{type(error).__name__}: {error}"
        ) from None
    finally:
        await admin.close()
    return {
        (tp.topic, tp.partition): Committed(each.offset, each.metadata or "")
        for tp, each in found.items()
        if each.offset >= 0
    }
