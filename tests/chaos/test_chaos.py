"""The harness of ``make chaos``, in small."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.running import play
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.world import Plan


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "guarantee"),
    [
        ("kills", "exactly_once"),
        pytest.param("kills", "at_least_once", marks=pytest.mark.slow),
        pytest.param("store-snapshot", "exactly_once", marks=pytest.mark.slow),
        pytest.param("kafka-away-10s", "exactly_once", marks=pytest.mark.slow),
        pytest.param("node-lost", "exactly_once", marks=pytest.mark.slow),
    ],
)
async def test_a_scenario(name: str, guarantee: str, kafka_home: Path, tmp_path: Path) -> None:
    plan = Plan(seed=7, guarantee=guarantee, events=3_000, accounts=200, strikes=2, partitions=4)
    assert await play(SCENARIOS[name], plan, kafka_home, tmp_path)
