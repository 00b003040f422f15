"""Waiting for servers: what a step waits for is known meanwhile, and forgotten afterwards."""

from __future__ import annotations

import pytest

from engine.errors import StoreUnavailable
from streams.metrics import Metrics
from streams.retries import Interrupted, Retries


async def test_what_a_step_waits_for_is_known_until_it_is_done() -> None:
    retries = Retries(Metrics())
    seen: list[dict[str, str]] = []

    async def action() -> str:
        seen.append(dict(retries.troubles))
        if len(seen) < 3:
            raise StoreUnavailable(f"full {len(seen)}")
        return "done"

    assert await retries.until_done("write", action) == "done"
    assert seen == [{}, {"write": "full 1"}, {"write": "full 2"}]
    assert retries.troubles == {}


async def test_a_step_that_is_given_up_waits_for_nothing() -> None:
    retries = Retries(Metrics())
    retries.interrupt()

    async def action() -> None:
        raise StoreUnavailable("away")

    with pytest.raises(Interrupted):
        await retries.until_done("read", action)
    assert retries.troubles == {}
