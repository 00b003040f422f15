"""The scenarios by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import broker, cluster, kills, store
from tests.chaos.world import World


@dataclass(frozen=True)
class Scenario:
    """Something that happens to a stream, and what must be true of it then.

    Args:
        run: does it, and raises where something is not as it must be.
        events: how many, if not said.
        accounts: how many, if not said.
        strikes: how often workers are struck, if not said.
        guarantees: with which it is run.
        settings: of the workers.
        note_bytes: how much each event carries that no model reads.
        topics: which of them take records of so many bytes at most.
        nodes: how many brokers there are.
        has_proxy: whether the workers reach the store through a proxy.
        is_long: run only where it is named.
    """

    run: Callable[[World], Awaitable[None]]
    events: int = 20_000
    accounts: int = 1_000
    strikes: int = 10
    guarantees: tuple[str, ...] = ("at_least_once", "exactly_once")
    settings: dict[str, Any] = field(default_factory=dict)
    note_bytes: int = 0
    topics: dict[str, int] = field(default_factory=dict)
    nodes: int = 1
    has_proxy: bool = False
    is_long: bool = False


SCENARIOS: dict[str, Scenario] = {
    "kills": Scenario(kills.kills),
    "takeover": Scenario(kills.takeover, strikes=3),
    "store-away-1s": Scenario(store.away(1)),
    "store-away-60s": Scenario(store.away(60), is_long=True),
    "store-away-600s": Scenario(store.away(600), is_long=True),
    "store-empty": Scenario(store.empty),
    "store-snapshot": Scenario(store.snapshot),
    "store-full": Scenario(store.full),
    "store-read-only": Scenario(store.read_only),
    "store-slow": Scenario(store.slow, has_proxy=True),
    "kafka-away-10s": Scenario(broker.away(10)),
    "kafka-away-120s": Scenario(broker.away(120), is_long=True),
    # A label comes two days after its event: here, two seconds.
    "kafka-grows": Scenario(broker.grows, settings={"broker__metadata_age_s": 1.0}),
    "kafka-expires": Scenario(broker.expires),
    "alerts-too-large": Scenario(
        broker.too_large,
        note_bytes=2_000,
        topics={"alerts": 2_000},
        settings={"model__review_threshold": 0.0},
    ),
    "node-lost": Scenario(cluster.node_lost, nodes=3, settings={"topics__replication_factor": 3}),
}
