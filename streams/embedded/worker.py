"""A worker as a process of its own, for demos and tests."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from streams.embedded.processes import HOST, EmbeddedServer, Launch, choose_port

_PROBE_S = 3.0


class EmbeddedWorker(EmbeddedServer):
    """``riskstream worker`` with a configuration of its own, ready once it has partitions.

    Args:
        directory: where its log and its configuration go.
        settings: dotted names of settings to their values.
        name: the name of its files, where several workers share a directory.
    """

    ready_within_s = 60.0
    stop_within_s = 20.0

    def __init__(
        self, directory: Path | str, settings: Mapping[str, Any], *, name: str = "worker"
    ) -> None:
        super().__init__(directory)
        self.name = name
        self._settings = settings
        self._port: int | None = None

    @property
    def url(self) -> str:
        """The address of its web server. Known once started."""
        return f"http://{HOST}:{self._port}"

    @property
    def config_path(self) -> Path:
        """Its configuration file."""
        return self.directory / f"{self.name}.toml"

    def prepare(self) -> Launch:
        """See `EmbeddedServer.prepare`."""
        self._port = choose_port(None)
        settings = {
            **self._settings,
            "worker.web_host": HOST,
            "worker.web_port": self._port,
        }
        self.config_path.write_text(to_toml(settings), encoding="utf-8")
        command = [sys.executable, "-m", "riskstream", "worker", "--config", str(self.config_path)]
        return Launch(command)

    def is_ready(self) -> bool:
        """See `EmbeddedServer.is_ready`."""
        page = self.get("/readyz")
        return page is not None and bool(orjson.loads(page)["broker"].get("partitions"))

    def get(self, path: str) -> bytes | None:
        """Return a page of its web server; None where it does not answer with success."""
        if self._port is None:
            return None
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=_PROBE_S) as page:
                content: bytes = page.read()
                return content
        except (urllib.error.URLError, OSError):
            return None


def to_toml(settings: Mapping[str, Any]) -> str:
    """Return dotted settings as a TOML file.

    >>> print(to_toml({"app.id": "a", "worker.web_port": 0}))
    app.id = "a"
    worker.web_port = 0
    <BLANKLINE>
    """
    return "".join(f"{name} = {orjson.dumps(value).decode()}\n" for name, value in settings.items())
