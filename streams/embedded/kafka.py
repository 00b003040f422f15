"""Apache Kafka itself, a node or a cluster, from a distribution's jars: for tests and benchmarks.

It is what the embedded broker is not: many partitions, transactions, and data on disk.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from engine.errors import EmbeddedServerError
from streams.embedded.probes import answers_kafka
from streams.embedded.processes import HOST, EmbeddedServer, Launch, choose_port, run_to_end

JAVA_NEEDED = 17
JAVA_WITHIN_S = 20.0
FORMAT_WITHIN_S = 60.0
MEBIBYTE = 1 << 20
VERSION_LINE = re.compile(r'version "(?:1\.)?(\d+)')


@dataclass(frozen=True, slots=True)
class Member:
    """A node's place in a cluster.

    Args:
        node_id: its number.
        port: for clients.
        controller_port: for the other nodes.
        voters: all nodes, as ``controller.quorum.voters`` has them.
        cluster_id: the cluster's.
    """

    node_id: int
    port: int
    controller_port: int
    voters: str
    cluster_id: str


class ApacheKafka(EmbeddedServer):
    """A node in KRaft mode: `with ApacheKafka(home, directory) as kafka: kafka.bootstrap`."""

    name = "kafka"
    ready_within_s = 60.0
    stop_within_s = 20.0

    def __init__(
        self,
        home: Path | str,
        directory: Path | str,
        *,
        port: int | None = None,
        heap_mb: int = 512,
        partitions: int = 4,
        message_max_bytes: int = 1_048_588,
        properties: Mapping[str, str] | None = None,
        member: Member | None = None,
    ) -> None:
        """Take the distribution and the directory of configuration, log and data.

        Args:
            home: the folder whose `libs/` holds the broker's jars.
            directory: an earlier run's topics are found again.
            port: the TCP port; None takes a free one at each start.
            heap_mb: the Java heap's upper bound, in MiB.
            partitions: how many partitions a topic gets that is made without a number.
            message_max_bytes: the largest record batch that the broker takes.
            properties: more of server.properties.
            member: its place in a cluster; None for a cluster of its own.
        """
        super().__init__(directory)
        self._libs = Path(home).absolute() / "libs"
        self._member = member
        self._wanted_port = port if member is None else member.port
        self._port = self._wanted_port
        self._heap_mb = heap_mb
        self._topic_settings = {
            "num.partitions": str(partitions),
            "message.max.bytes": str(message_max_bytes),
        }
        self._properties = dict(properties or {})

    @property
    def bootstrap(self) -> str:
        """The address for Kafka clients, `host:port`. Known once started."""
        return f"{HOST}:{self._port}"

    def prepare(self) -> Launch:
        """Write server.properties, and format the data folder where it is new."""
        reason = why_not(self._libs.parent)
        if reason:
            raise EmbeddedServerError(f"Apache Kafka needs its jars and Java, however: {reason}.")
        self._port = choose_port(self._wanted_port)
        config = self.directory / "server.properties"
        settings = self._settings(self._member or _alone(self._port))
        config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        if not (self.directory / "data" / "meta.properties").exists():
            self._format(config, self._member.cluster_id if self._member else _new_cluster_id())
        return self._java("kafka.Kafka", str(config))

    def is_ready(self) -> bool:
        """See `EmbeddedServer.is_ready`."""
        return self._port is not None and answers_kafka(self._port)

    def _settings(self, member: Member) -> dict[str, str]:
        client = f"PLAINTEXT://{HOST}:{member.port}"
        controller = f"CONTROLLER://{HOST}:{member.controller_port}"
        return {
            "process.roles": "broker,controller",
            "node.id": str(member.node_id),
            "controller.quorum.voters": member.voters,
            "listeners": f"{client},{controller}",
            "advertised.listeners": client,
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.directory / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "group.initial.rebalance.delay.ms": "0",
            # By itself the cleaner of compacted topics takes 128 MiB at once, of any heap.
            "log.cleaner.dedupe.buffer.size": str(self._heap_mb * MEBIBYTE // 16),
            **self._topic_settings,
            **self._properties,
        }

    def _format(self, config: Path, cluster: str) -> None:
        # "--cluster-id=" keeps an id that begins with a dash from being read as an option.
        launch = self._java(
            "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(config)
        )
        try:
            status = run_to_end(launch, self.log_path, within_s=FORMAT_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise self._error(f"formatting took longer than {FORMAT_WITHIN_S:g} s") from None
        if status != 0:
            raise self._error(f"formatting its data folder ended with exit status {status}")

    def _java(self, main: str, *arguments: str) -> Launch:
        return Launch(
            [
                java_binary(),
                f"-Xmx{self._heap_mb}m",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-cp",
                f"{self._libs}/*",
                main,
                *arguments,
            ]
        )


class KafkaCluster:
    """Nodes that hold every record together: `with KafkaCluster(home, directory) as cluster: …`.

    Topics have a replica on each node, and a write is acknowledged once two have it.
    """

    def __init__(
        self,
        home: Path | str,
        directory: Path | str,
        *,
        nodes: int = 3,
        heap_mb: int = 384,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        """Take the distribution and the directory of all nodes.

        Args:
            home: the folder whose `libs/` holds the broker's jars.
            directory: each node gets a folder in it.
            nodes: how many.
            heap_mb: the Java heap's upper bound of each, in MiB.
            properties: more of server.properties.
        """
        replicas, in_sync = str(nodes), str(nodes // 2 + 1)
        replicated = {
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            **(properties or {}),
        }
        self.nodes = [
            ApacheKafka(
                home,
                Path(directory) / f"node-{member.node_id}",
                heap_mb=heap_mb,
                properties=replicated,
                member=member,
            )
            for member in _members(nodes)
        ]

    @property
    def bootstrap(self) -> str:
        """The addresses of all nodes for Kafka clients."""
        return ",".join(node.bootstrap for node in self.nodes)

    def start(self) -> None:
        """Start all nodes: one alone is not ready. Raises :class:`EmbeddedServerError`."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(lambda node: node.start(), self.nodes))

    def stop(self) -> None:
        """End all nodes at once: without a majority, the last would wait for the others."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(lambda node: node.stop(), self.nodes))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _alone(port: int) -> Member:
    controller = choose_port()
    return Member(1, port, controller, f"1@{HOST}:{controller}", "")


def _members(nodes: int) -> list[Member]:
    ports = [(choose_port(), choose_port()) for _ in range(nodes)]
    voters = ",".join(f"{at}@{HOST}:{each[1]}" for at, each in enumerate(ports, 1))
    cluster_id = _new_cluster_id()
    return [Member(at, *each, voters, cluster_id) for at, each in enumerate(ports, 1)]


def _new_cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def why_not(home: Path | str) -> str | None:
    """Return why Apache Kafka cannot be run from `home`; None where it can."""
    libs = Path(home) / "libs"
    if not any(libs.glob("kafka_*.jar")):
        return f"{libs} holds no kafka_*.jar"
    found = java_version()
    if found is None:
        return "no java is on the PATH or in JAVA_HOME"
    if found < JAVA_NEEDED:
        return f"Kafka needs Java {JAVA_NEEDED} and {java_binary()} is Java {found}"
    return None


def java_binary() -> str:
    """Return the Java to run: `$JAVA_HOME/bin/java` where it exists, or the PATH's."""
    home = os.environ.get("JAVA_HOME")
    own = Path(home) / "bin" / "java" if home else None
    return str(own) if own and own.exists() else shutil.which("java") or "java"


def java_version() -> int | None:
    """Return the major version of `java_binary()`; None where it does not run."""
    try:
        answer = subprocess.run(
            [java_binary(), "-version"],
            capture_output=True,
            text=True,
            timeout=JAVA_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = VERSION_LINE.search(answer.stderr)
    return int(found.group(1)) if found else None
