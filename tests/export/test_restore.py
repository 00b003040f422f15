"""The bundle that comes with riskstream is what PyTorch computes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from engine.bundle import Bundle
from engine.columns import Columns
from engine.decode import Decoder
from engine.device import Device
from engine.history import History
from engine.knowledge import Knowledge
from engine.manifest import Manifest
from engine.offline import OfflineScorer
from engine.scorer import Scorer as Served
from engine.waves import index_accounts, waves
from export.restore import restore_scorer
from models.packs.registry import pack_folder

EVENTS = 4_000


def test_the_committed_bundle_agrees_with_pytorch() -> None:
    folder = pack_folder("fraud")
    bundle = Bundle.load(folder / "bundle")
    schema = bundle.manifest.schema
    history = History.open(folder / "demo" / "transactions.parquet", schema).slice(0, EVENTS)
    values = [value for chunk in history.chunks() for value in chunk.values]
    served = OfflineScorer(Decoder(schema), Served(bundle, Device.CPU)).score(values, 1 << 42)
    columns = served.columns
    scorer = restore_scorer(bundle)
    accounts, index = index_accounts(columns.accounts)
    state = {
        dtype: torch.zeros(len(accounts), size, dtype=getattr(torch, dtype))
        for dtype, size in bundle.manifest.state.sizes.items()
    }
    shared = buckets(columns, bundle.manifest)
    scores = np.empty(len(columns), dtype=np.float32)
    with torch.no_grad():
        for wave in waves(index):
            events = {name: torch.from_numpy(columns.values[name][wave]) for name in scorer.inputs}
            own = torch.from_numpy(index[wave])
            held = {name: each[own] for name, each in state.items()}
            read = {name: torch.from_numpy(each[wave]) for name, each in shared.items()}
            step = scorer.step(events, held, read)
            scores[wave] = step.score.numpy()
            for name, value in step.state.items():
                state[name][own] = value
    assert np.abs(scores - served.scored.scores).max() <= 1e-5


def buckets(columns: Columns, manifest: Manifest) -> dict[str, NDArray[np.float32]]:
    """Return what each event reads of its shared entities; no labels are known."""
    knowledge = Knowledge(manifest.schema, manifest.shared)
    parts = []
    for segment in knowledge.segments(columns.event_time_ms):
        own = columns.take(np.arange(segment.start, segment.stop))
        parts.append(knowledge.read(own))
        knowledge.add_events(own, np.ones(len(own), dtype=np.bool_))
    return {name: np.concatenate([each[name] for each in parts]) for name in parts[0]}


def test_a_restored_scorer_writes_the_states_of_its_bundle() -> None:
    bundle = Bundle.load(pack_folder("fraud") / "bundle")
    assert restore_scorer(bundle).layout.digest == bundle.manifest.state.digest
