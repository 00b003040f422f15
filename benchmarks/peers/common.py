"""What every peer needs: its options, the graph, and the record that is published of a score."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest, xxh3_128_hexdigest

Arrays = dict[str, NDArray[Any]]

_DECISIONS = ("approve", "review", "decline")


@dataclass(frozen=True)
class Options:
    """What a peer is told.

    Args:
        bootstrap, state_url: where Kafka and Redis are.
        bundle: the folder of the model.
        source, scores: the topics of events and of scores.
        group: the consumer group, which the keys in Redis begin with too.
        batch: how many records to take at once, where a peer takes batches.
        directory: where a peer may keep files.
    """

    bootstrap: str
    state_url: str
    bundle: Path
    source: str
    scores: str
    group: str
    batch: int
    directory: Path

    @classmethod
    def parse(cls) -> Options:
        """Read the command line."""
        parser = argparse.ArgumentParser()
        for name in ("bootstrap", "state-url", "source", "scores", "group"):
            parser.add_argument(f"--{name}", required=True)
        parser.add_argument("--bundle", type=Path, required=True)
        parser.add_argument("--directory", type=Path, required=True)
        parser.add_argument("--batch", type=int, default=1024)
        return cls(**vars(parser.parse_args()))


class Model:
    """The bundle's graph, loaded as ONNX Runtime's documentation does, on one thread.

    Attributes:
        sizes: the data types of a state, and how many values it has of each.
    """

    def __init__(self, folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        self.sizes = {"int64": 0, "float32": 0}
        for field in manifest["state"]["fields"]:
            self.sizes[field["dtype"]] += int(np.prod(field["shape"], dtype=np.int64))
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [each.name for each in self._session.get_inputs()]
        self._outputs = [each.name for each in self._session.get_outputs()]

    @property
    def nbytes(self) -> int:
        """The bytes of one state."""
        return 8 * self.sizes["int64"] + 4 * self.sizes["float32"]

    def split(self, states: Sequence[bytes | None]) -> Arrays:
        """Return encoded states as arrays ``[n, size]``; None is a new account."""
        blank = bytes(self.nbytes)
        rows = bytearray().join(each or blank for each in states)
        raw = np.frombuffer(rows, dtype=np.uint8).reshape(len(states), self.nbytes)
        cut = 8 * self.sizes["int64"]
        return {
            "int64": np.ascontiguousarray(raw[:, :cut]).view(np.int64),
            "float32": np.ascontiguousarray(raw[:, cut:]).view(np.float32),
        }

    def join(self, states: Arrays) -> list[bytes]:
        """Return states as bytes, one an account."""
        raw = np.concatenate([states[each].view(np.uint8) for each in ("int64", "float32")], axis=1)
        data = raw.tobytes()
        return [data[at : at + self.nbytes] for at in range(0, len(data), self.nbytes)]

    def run(self, columns: Arrays, states: Arrays) -> tuple[Arrays, Arrays]:
        """Score ``n`` events of different accounts; return the outputs and the new states."""
        feeds = columns | {f"state_{dtype}": tensor for dtype, tensor in states.items()}
        values = self._session.run(None, {name: feeds[name] for name in self._inputs})
        found = dict(zip(self._outputs, values, strict=True))
        return found, {dtype: found[f"new_state_{dtype}"] for dtype in states}


def columns(events: Sequence[Mapping[str, Any]]) -> Arrays:
    """Return the graph's inputs of decoded events."""
    return {
        "event_id": _hashes(each["transaction_id"] for each in events),
        "event_time": np.array([time_ms(each) for each in events], dtype=np.int64),
        "account": _hashes(each["card_id"] for each in events),
        "terminal": _hashes(each["terminal_id"] for each in events),
        "amount": np.array([each["amount"] for each in events], dtype=np.float32),
    }


def time_ms(event: Mapping[str, Any]) -> int:
    """Return when an event happened, in milliseconds since 1970."""
    return round(datetime.fromisoformat(event["time"]).timestamp() * 1000)


def score_record(
    event: Mapping[str, Any],
    event_time_ms: int,
    score: float,
    duplicate: bool,
    late: bool,
    published_ms: int,
    received_ms: int,
) -> dict[str, Any]:
    """Return what is published of an event: the fields of riskstream's own records."""
    account, event_id = event["card_id"], event["transaction_id"]
    name = "\x1f".join(("score", str(len(account)), account, event_id))
    return {
        "score_id": xxh3_128_hexdigest(name.encode()),
        "event_id": event_id,
        "account": account,
        "event_time_ms": event_time_ms,
        "score": round(score, 7),
        "decision": _DECISIONS[0],
        "duplicate": duplicate,
        "late": late,
        "model": "bench",
        "model_version": "1",
        "bundle": "0123456789ab",
        "published_ms": published_ms,
        "received_ms": received_ms,
        "scored_ms": now_ms(),
    }


def encode(record: Mapping[str, Any]) -> bytes:
    """Return a record as JSON."""
    return orjson.dumps(record)


def now_ms() -> int:
    """Return the time by the wall clock, in ms since 1970."""
    return time.time_ns() // 1_000_000


def _hashes(values: Any) -> NDArray[np.int64]:
    digests = [xxh3_64_intdigest(value.encode()) for value in values]
    return np.array(digests, dtype=np.uint64).view(np.int64)
