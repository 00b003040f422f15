"""How riskstream grows: with accounts, partitions and workers, and with one account that is hot."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.contestants import Contestant
from benchmarks.flat import run_flat
from benchmarks.paced import run_paced
from benchmarks.setup import Bench
from benchmarks.traffic import payments, publish
from engine.bundle import Bundle
from models.packs.registry import pack_folder
from streams.configuration import load_settings
from streams.embedded.valkey import EmbeddedValkey
from streams.publisher import partition_of
from streams.store.base import Store
from streams.stores import new_store

ACCOUNTS = (10_000, 100_000, 1_000_000)
PARTITIONS = (1, 4, 16, 64)
WORKERS = (1, 2)
_HOT_RATE, _HOT_SHARE = 1_000.0, 0.1
_SWAP_RATE = 500.0
_CHUNK = 10_000
_SAMPLE = 100_000

Found = dict[str, Any]


def by_accounts(bench: Bench, own: Contestant, n: int, most: int, limit_s: float) -> list[Found]:
    """Score events of ever more accounts, whose states are all in the store before."""
    found = []
    for accounts in (each for each in ACCOUNTS if each <= most):
        group, topic = f"accounts-{accounts}", f"backlog-accounts-{accounts}"
        bench.forget_states()
        bench.make_topic(topic, 4)
        publish(bench.bootstrap, topic, payments(n, accounts))
        load(bench, bench.bundle, group, topic, accounts, 4)
        result = run_flat(bench, own, topic, n, group=group, partitions=4, limit_s=limit_s)
        found.append({"accounts": accounts, **result.to_dict()})
    return found


def by_partitions(bench: Bench, own: Contestant, n: int, limit_s: float) -> list[Found]:
    """Score the same events out of ever more partitions."""
    found = []
    for partitions in PARTITIONS:
        group, topic = f"partitions-{partitions}", f"backlog-partitions-{partitions}"
        bench.forget_states()
        bench.make_topic(topic, partitions)
        publish(bench.bootstrap, topic, payments(n, ACCOUNTS[0]))
        settings = {**own.settings, "topics.partitions": partitions}
        contestant = replace(own, settings=settings)
        result = run_flat(
            bench, contestant, topic, n, group=group, partitions=partitions, limit_s=limit_s
        )
        found.append({"partitions": partitions, **result.to_dict()})
    return found


def by_workers(bench: Bench, own: Contestant, n: int, limit_s: float) -> list[Found]:
    """Score the same events with one worker, and with two that share the partitions."""
    bench.make_topic("backlog-workers", 4)
    publish(bench.bootstrap, "backlog-workers", payments(n, ACCOUNTS[0]))
    found = []
    for workers in WORKERS:
        bench.forget_states()
        result = run_flat(
            bench,
            own,
            "backlog-workers",
            n,
            group=f"workers-{workers}",
            partitions=4,
            limit_s=limit_s,
            workers=workers,
        )
        found.append({"workers": workers, **result.to_dict()})
    return found


def hot_account(bench: Bench, own: Contestant, seconds: float) -> list[Found]:
    """Compare the others' latency with and without an account that has a tenth of the traffic."""
    found = []
    for share in (0.0, _HOT_SHARE):
        bench.forget_states()
        (result,) = run_paced(
            bench,
            own,
            [_HOT_RATE],
            group=f"hot-{share * 100:.0f}",
            partitions=4,
            seconds=seconds,
            hot_share=share,
        )
        found.append({"hot_share": share, **asdict(result)})
    return found


def hand_over(bench: Bench, own: Contestant, seconds: float) -> Found:
    """Stop one of two workers halfway: the worst latency is the pause of its partitions."""
    bench.forget_states()
    (result,) = run_paced(
        bench,
        own,
        [_SWAP_RATE],
        group="hand-over",
        partitions=4,
        seconds=seconds,
        second_stops_after_s=seconds / 2,
    )
    return asdict(result)


def store_bytes(bench: Bench) -> Found:
    """Return what an account takes in the store, keys and overhead included, by bundle."""
    found = {}
    for name, bundle in (("default", pack_folder("fraud") / "bundle"), ("bench", bench.bundle)):
        # A server of its own: one that was emptied gives its tables back only little by little.
        with EmbeddedValkey(bench.directory / f"bytes-{name}") as valkey:
            fresh = replace(bench, state_url=valkey.url)
            before = fresh.store_bytes()
            load(fresh, bundle, f"bytes-{name}", "bytes", _SAMPLE, 4)
            found[name] = round((fresh.store_bytes() - before) / _SAMPLE)
    return found


def load(
    bench: Bench, bundle: Path, group: str, topic: str, accounts: int, partitions: int
) -> None:
    """Put a state of every account into the store, as a worker of a group finds it."""
    values = {"app.id": group, "state.url": bench.state_url, "topics.transactions": topic}
    manifest = Bundle.load(bundle).manifest
    store = new_store(load_settings(None, values), manifest, topic)
    asyncio.run(_load(store, bytes(manifest.state.nbytes), accounts, partitions))


async def _load(store: Store, state: bytes, accounts: int, partitions: int) -> None:
    names = map(str, range(accounts))
    for chunk in _chunks(names):
        by_partition: dict[int, dict[str, bytes]] = {}
        for name in chunk:
            partition = partition_of(name.encode(), partitions)
            by_partition.setdefault(partition, {})[name] = state
        for partition, states in by_partition.items():
            await store.load(partition, states)
    await store.close()


def _chunks(names: Iterator[str]) -> Iterator[list[str]]:
    while chunk := list(islice(names, _CHUNK)):
        yield chunk
