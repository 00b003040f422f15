"""What is fuzzed: each target takes bytes, and lets nothing but a documented error through."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import orjson

from engine.bundle import Bundle
from engine.columns import Columns, Decoded
from engine.decode import Decoder, Limits
from engine.device import Device
from engine.errors import BundleError
from engine.label_decode import LabelDecoder
from engine.layout import StateLayout
from engine.manifest import MANIFEST_FILE, MODEL_FILE, REASONS_FILE
from engine.records import Encoder, Origin, Times, dead_letter
from engine.scorer import Scorer
from tests.bundles import SCHEMA, shared_bundle, tiny_bundle

NOW_MS = 1_769_860_800_000

EVENT = {
    "transaction_id": "t1",
    "time": "2026-01-31T12:00:00Z",
    "card_id": "c1",
    "terminal_id": "p1",
    "amount": 25.0,
}
LABEL = {
    "event_id": "t1",
    "fraud": True,
    "known_at": "2026-01-31T12:00:00Z",
    "source": "visa",
    "kind": "chargeback",
}
SEEDS = {
    "events": [orjson.dumps(EVENT), orjson.dumps({**EVENT, "amount": 1e308}), b"[]", b"\xff"],
    "labels": [orjson.dumps(LABEL), orjson.dumps({**LABEL, "known_at": None}), b"null"],
    "bundles": [bytes(range(64)), b"\x00" * 16],
}


class Events:
    """The event decoder, and all that its answer goes through: scoring, encoding, dead letters."""

    def __init__(self, folder: Path) -> None:
        bundle = Bundle.load(tiny_bundle(folder))
        self._decoder = Decoder(SCHEMA, Limits(max_bytes=4_096))
        self._scorer = Scorer(bundle, Device.CPU)
        self._encoder = Encoder(self._scorer)

    def __call__(self, data: bytes) -> None:
        """Decode an event; what is accepted must be scored, what is not must be a dead letter."""
        decoded = self._decoder.decode([data], NOW_MS)
        assert len(decoded.columns) + len(decoded.rejects) == 1
        for reject in decoded.rejects:
            assert reject.detail
            origin = Origin("payments", 0, 7, NOW_MS)
            letters = dead_letter(reject, b"key", data, origin, 900_000)
            assert b"".join(each.value or b"" for each in letters) == data
        if len(decoded.columns):
            self._score(decoded, data)

    def _score(self, decoded: Decoded, data: bytes) -> None:
        columns: Columns = decoded.columns
        states = self._scorer.layout.zeros(1)
        scored = self._scorer.score(columns, states, np.zeros(1, dtype=np.int64), {})
        times = Times(np.array([NOW_MS]), NOW_MS, NOW_MS)
        for record in self._encoder.scores(columns, scored, times):
            json.loads(record.value or b"")
        for record in self._encoder.alerts(columns, scored, times, [data]):
            json.loads(record.value or b"")


class Labels:
    """The label decoder."""

    def __init__(self, _: Path) -> None:
        self._decoder = LabelDecoder(4_096, 300_000)

    def __call__(self, data: bytes) -> None:
        """Decode a label."""
        decoded = self._decoder.decode([data], [NOW_MS], NOW_MS)
        assert len(decoded.rows) + len(decoded.rejects) == 1
        assert all(reject.detail for reject in decoded.rejects)


class Bundles:
    """The bundle loader: a good bundle, damaged as the bytes say, and its graph where it loads."""

    def __init__(self, folder: Path) -> None:
        self._folder = shared_bundle(folder)
        self._files = {
            name: (folder / name).read_bytes() for name in (MANIFEST_FILE, MODEL_FILE, REASONS_FILE)
        }

    def __call__(self, data: bytes) -> None:
        """Damage the bundle, load it, and make a scorer of it."""
        for name, content in self._damaged(data).items():
            (self._folder / name).write_bytes(content)
        try:
            bundle = Bundle.load(self._folder)
            assert isinstance(bundle.manifest.state, StateLayout)
            Scorer(bundle, Device.CPU)
        except BundleError:
            return

    def _damaged(self, data: bytes) -> dict[str, bytes]:
        files, kind, rest = dict(self._files), data[:1], data[1:]
        if kind < b"\x20":
            files[MANIFEST_FILE] = rest
        elif kind < b"\xc0":
            manifest = json.loads(files[MANIFEST_FILE])
            files[MANIFEST_FILE] = json.dumps(_changed(manifest, rest)).encode()
        else:
            name = MODEL_FILE if kind < b"\xe0" else REASONS_FILE
            files[name] = _flipped(files[name], rest)
            manifest = json.loads(files[MANIFEST_FILE])
            manifest["files"][name] = sha256(files[name]).hexdigest()
            files[MANIFEST_FILE] = json.dumps(manifest).encode()
        return files


_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 10**30, 0.5, 1e308),
    *("", "x", "a" * 300, [], {}, [None], {"x": 1}, float("nan"), float("-inf")),
)


def _changed(value: Any, data: bytes) -> Any:
    """Return a JSON value with one place changed: a byte for each step down to it, then how."""
    if len(data) <= 1 or not isinstance(value, dict | list) or not value:
        return _VALUES[data[0] % len(_VALUES)] if data else value
    if isinstance(value, list):
        at = data[0] % len(value)
        return [*value[:at], _changed(value[at], data[1:]), *value[at + 1 :]]
    name = sorted(value)[data[0] % len(value)]
    if data[1] == 0xFF:
        return {each: kept for each, kept in value.items() if each != name}
    if data[1] == 0xFE:
        return {**value, f"{name}?": value[name]}
    return {**value, name: _changed(value[name], data[1:])}


def _flipped(content: bytes, data: bytes) -> bytes:
    """Return content with bytes changed at places that the data says, or cut."""
    changed = bytearray(content)
    for at in range(0, len(data) - 2, 3):
        changed[int.from_bytes(data[at : at + 2], "big") % len(changed)] = data[at + 2]
    return bytes(changed[: -data[0]]) if len(data) % 3 == 1 and data[0] else bytes(changed)


TARGETS: dict[str, Callable[[Path], Callable[[bytes], None]]] = {
    "events": Events,
    "labels": Labels,
    "bundles": Bundles,
}


def run_once(name: str, data: bytes) -> None:
    """Run a target on one input."""
    with TemporaryDirectory(prefix="fuzz") as folder:
        TARGETS[name](Path(folder) / "bundle")(data)
