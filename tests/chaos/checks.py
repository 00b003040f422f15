"""What must be true of a stream once everything has been scored, whatever happened to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import buckets as ring
from engine.layout import StateLayout
from engine.shared import SharedEntity
from streams.stores import Stores, new_stores
from tests.chaos.observer import TOLERANCE
from tests.chaos.world import World
from tests.waiting import wait_for_async


async def check(world: World) -> None:
    """Stop the workers, compare results, states and rings with the truth, and say what was found.

    Everything must have been fed; what is not processed yet is waited for.
    """
    truth = await world.truth()
    stores = new_stores(world.stream.settings, world.bundle.manifest)
    try:
        await _until_processed(world, stores)
        for worker in world.workers:
            await asyncio.to_thread(worker.stop)
        check_results(world, truth.scores)
        states, rings = await _kept(world, stores)
    finally:
        await stores.close()
    _check_states(world.bundle.manifest.state, states, truth.states)
    for kind in world.bundle.manifest.shared:
        _check_rings(kind, rings[kind.name], truth.rings[kind.name])
    errors = world.log_lines("Traceback")
    assert not errors, f"a worker's log holds {len(errors)} tracebacks"


def check_results(world: World, truth: Mapping[str, float]) -> None:
    """Check that each event has its score, and that repeats are what the guarantee allows."""
    seen = world.observer
    assert not seen.letters, f"{len(seen.letters)} dead letters, the first {seen.letters[0]}"
    missing = truth.keys() - seen.scores.keys()
    assert not missing, f"{len(missing)} events were not scored, {sorted(missing)[:5]} among them"
    assert seen.scores.keys() == truth.keys()
    differences = {name: abs(seen.scores[name].score - truth[name]) for name in truth}
    worst = max(differences, key=differences.__getitem__)
    off = sum(each > TOLERANCE for each in differences.values())
    assert not off, (
        f"{off} scores are off by more than {TOLERANCE}: {worst} is "
        f"{seen.scores[worst].score} where the truth is {truth[worst]}"
    )
    assert not seen.changed, f"{len(seen.changed)} repeats differ, {seen.changed[:2]} among them"
    if world.stream.is_exact:
        assert seen.repeats == 0, f"{seen.repeats} results were seen twice"
    assert seen.shown == 0, f"{seen.shown} events were scored as duplicates"
    world.facts.append(f"{seen.repeats:,} repeats, scores within {differences[worst]:.0e}")


async def _until_processed(world: World, stores: Stores) -> None:
    """Wait until the positions are those of all records."""
    partitions = range(world.plan.partitions)

    async def at_ends() -> bool:
        events = await stores.events.positions(partitions)
        labels = await stores.labels.positions(partitions)
        found = {"events": _sum(events.values()), "labels": _sum(labels.values())}
        return all(found[name] >= count for name, count in world.sent.items())

    await wait_for_async(at_ends, 120, "the positions to reach the ends")


async def _kept(
    world: World, stores: Stores
) -> tuple[dict[str, bytes], dict[str, dict[int, bytes]]]:
    """Return all accounts' states, and all rings by the kind of their entity."""
    states = {
        account: state
        for partition in range(world.plan.partitions)
        async for account, state in stores.events.states(partition)
    }
    rings: dict[str, dict[int, bytes]] = {}
    for kind in world.bundle.manifest.shared:
        rings[kind.name] = {
            hashed: found async for hashed, found in stores.shared.every_ring(kind.name)
        }
    return states, rings


def _sum(positions: Iterable[int | None]) -> int:
    return sum(each or 0 for each in positions)


def _check_states(
    layout: StateLayout, found: Mapping[str, bytes], truth: Mapping[str, bytes]
) -> None:
    assert found.keys() == truth.keys(), (
        f"{len(found)} accounts have states, and the truth has {len(truth)}"
    )
    names = sorted(truth)
    mine, theirs = (layout.decode([each[name] for name in names]) for each in (found, truth))
    for dtype in layout.sizes:
        if dtype == "float32":
            wrong = _differ(mine[dtype], theirs[dtype])
        else:
            wrong = mine[dtype] != theirs[dtype]
        accounts = np.flatnonzero(wrong.any(axis=1))
        assert not len(accounts), (
            f"the states of {len(accounts)} of {len(names)} accounts differ in {dtype}, "
            f"{names[accounts[0]]} among them"
        )


def _check_rings(
    kind: SharedEntity, found: Mapping[int, bytes], truth: Mapping[int, bytes]
) -> None:
    missing = truth.keys() ^ found.keys()
    assert not missing, f"{len(missing)} {kind.name} rings are missing or are none"
    names = sorted(truth)
    mine, theirs = (
        np.frombuffer(b"".join(each[name] for name in names), dtype=ring.record(kind))
        for each in (found, truth)
    )
    same = mine["newest"] == theirs["newest"]
    assert same.all(), f"{(~same).sum()} {kind.name} rings have another newest bucket"
    wrong = _differ(mine["rows"], theirs["rows"]).any(axis=(1, 2))
    assert not wrong.any(), f"{wrong.sum()} of {len(names)} {kind.name} rings differ"


def _differ(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    return ~np.isclose(a, b, rtol=TOLERANCE, atol=TOLERANCE)
