"""``riskstream up``: the embedded broker and state store, for work on a laptop."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from engine.errors import ConfigError, EmbeddedServerError
from riskstream.options import ConfigOption, make_folder, out, settings_of
from streams.embedded.broker import EmbeddedBroker
from streams.embedded.processes import EmbeddedServer
from streams.embedded.valkey import EmbeddedValkey
from streams.settings import Settings

_LOOK_EVERY_S = 0.2


def up(
    config: ConfigOption = None,
    directory: Annotated[Path, typer.Option("--dir", help="Where their logs go.")] = Path(
        "riskstream-servers"
    ),
) -> None:
    """Run an embedded broker and an embedded Valkey at the configured addresses until Ctrl-C.

    For a laptop: what they hold is in memory, and gone when they stop. The
    addresses must be ports of 127.0.0.1, as they are by default. Where one of
    them ends by itself, so does the other, and the exit code is 1.

    [bold]Examples[/bold]

      riskstream up --config config/embedded.toml
    """
    settings = settings_of(config)
    broker_port, store_port = _ports(settings)
    make_folder("--dir", directory)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            broker = stack.enter_context(EmbeddedBroker(directory, port=broker_port))
            valkey = stack.enter_context(EmbeddedValkey(directory, port=store_port))
            # From now on a signal is noted: an exception in the midst of anything may get lost.
            signals: list[int] = []
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda number, _: signals.append(number))
            out.print(f"Kafka at {broker.bootstrap}, state store at {valkey.url}; Ctrl-C ends them")
            _watch([broker, valkey], signals)
    except KeyboardInterrupt:
        pass
    out.print("stopped")


def _ports(settings: Settings) -> tuple[int, int]:
    bootstrap = settings.broker.bootstrap
    url = urlsplit(settings.state.url.get_secret_value())
    broker_port = _local_port(bootstrap)
    store_port = _local_port(url.netloc) if url.scheme == "redis" else None
    if broker_port is None or store_port is None:
        raise ConfigError(
            "riskstream up must have broker.bootstrap = 127.0.0.1:PORT and state.url = "
            f"redis://127.0.0.1:PORT, however: broker.bootstrap = {bootstrap}, and state.url has "
            f"the scheme {url.scheme} and the host {url.hostname}"
        )
    return broker_port, store_port


def _local_port(address: str) -> int | None:
    found = re.fullmatch(r"(?:127\.0\.0\.1|localhost):([0-9]{1,5})", address)
    return None if found is None else int(found[1])


def _watch(servers: Sequence[EmbeddedServer], signals: Sequence[int]) -> None:
    """Look after servers until a signal has come.

    Raises:
        EmbeddedServerError: one has ended before.
    """
    while all(server.running for server in servers):
        if signals:
            return
        time.sleep(_LOOK_EVERY_S)
    ended = next(server for server in servers if not server.running)
    raise EmbeddedServerError(
        f"the embedded server {ended.name} must run until Ctrl-C, however: it has ended; see "
        f"{ended.log_path}, and start riskstream up again"
    )
