"""Checking command lines of riskstream without running them."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of a command line `riskstream …`; a wrong one raises a usage error."""
    import typer

    from riskstream.main import new_app

    group: Any = typer.main.get_command(new_app())
    name, *rest = arguments
    command = group.get_command(None, name)
    while hasattr(command, "commands"):
        name, *rest = rest
        command = command.get_command(None, name)
    assert command is not None, f"there is no command {name!r}"
    parameters: dict[str, Any] = command.make_context(name, list(rest)).params
    return parameters


def answer_probe(code: str, status: int) -> int:
    """Run a probe's Python code against a server that gives one status; return its exit code."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        moved = code.replace(":6066/", f":{server.server_port}/")
        assert moved != code
        done = subprocess.run([sys.executable, "-c", moved], capture_output=True, check=False)
        server.shutdown()
        thread.join()
    return done.returncode
