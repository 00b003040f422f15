"""Running one scenario: its servers, its world, and the scenario itself."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from streams.embedded.kafka import ApacheKafka, KafkaCluster
from streams.embedded.processes import choose_port
from streams.embedded.valkey import EmbeddedValkey
from tests.chaos.proxy import SlowProxy
from tests.chaos.scenarios import Scenario
from tests.chaos.world import Plan, World
from tests.streams.test_delivery import create


async def play(scenario: Scenario, plan: Plan, kafka_home: Path, directory: Path) -> list[str]:
    """Run a scenario and return what it found.

    Raises:
        AssertionError: something is not as it must be.
        TimeoutError: something that must happen did not.
    """
    with ExitStack() as stack:
        kafka = stack.enter_context(_kafka(scenario.nodes, kafka_home, directory / "kafka"))
        valkey = EmbeddedValkey(directory / "valkey", port=choose_port(), appendonly=True)
        stack.enter_context(valkey)
        proxy = SlowProxy(valkey.port or 0) if scenario.has_proxy else None
        if proxy is not None:
            await proxy.start()
        world = World(
            plan, directory, kafka, valkey, proxy, dict(scenario.settings), scenario.note_bytes
        )
        for name, largest in scenario.topics.items():
            topic = getattr(world.stream.settings.topics, name)
            await create(kafka.bootstrap, topic, max_message_bytes=str(largest))
        try:
            async with world:
                await scenario.run(world)
        finally:
            if proxy is not None:
                await proxy.stop()
        return world.facts


def _kafka(nodes: int, home: Path, directory: Path) -> ApacheKafka | KafkaCluster:
    if nodes == 1:
        return ApacheKafka(home, directory, port=choose_port())
    # A node that was killed is noticed by the others after its session.
    quick = {"broker.session.timeout.ms": "6000", "broker.heartbeat.interval.ms": "1000"}
    return KafkaCluster(home, directory, nodes=nodes, properties=quick)
