"""Apache Kafka itself, one node, from the jars of a distribution: for tests and benchmarks.

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
from pathlib import Path

from engine.errors import EmbeddedServerError
from streams.embedded.probes import answers_kafka
from streams.embedded.processes import HOST, EmbeddedServer, Launch, choose_port, run_to_end

JAVA_NEEDED = 17
JAVA_WITHIN_S = 20.0
FORMAT_WITHIN_S = 60.0
VERSION_LINE = re.compile(r'version "(?:1\.)?(\d+)')


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
        """
        super().__init__(directory)
        self._libs = Path(home).absolute() / "libs"
        self._wanted_port = port
        self._port = port
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
        settings = self._settings(self._port, choose_port())
        config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        if not (self.directory / "data" / "meta.properties").exists():
            self._format(config)
        return self._java("kafka.Kafka", str(config))

    def is_ready(self) -> bool:
        """See `EmbeddedServer.is_ready`."""
        return self._port is not None and answers_kafka(self._port)

    def _settings(self, port: int, controller_port: int) -> dict[str, str]:
        client, controller = f"PLAINTEXT://{HOST}:{port}", f"CONTROLLER://{HOST}:{controller_port}"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{HOST}:{controller_port}",
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
            **self._topic_settings,
            **self._properties,
        }

    def _format(self, config: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
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
