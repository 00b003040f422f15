"""``riskstream up``: the embedded broker and state store, for work on a laptop."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import ConfigError
from riskstream.options import ConfigOption, make_folder, out, settings_of
from streams.embedded.broker import EmbeddedBroker
from streams.embedded.valkey import EmbeddedValkey
from streams.settings import Settings


def up(
    config: ConfigOption = None,
    directory: Annotated[Path, typer.Option("--dir", help="Where their logs go.")] = Path(
        "riskstream-servers"
    ),
) -> None:
    """Run an embedded broker and an embedded Valkey at the configured addresses until Ctrl-C.

    For a laptop: what they hold is in memory, and gone when they stop. The
    addresses must be ports of 127.0.0.1, as they are by default.

    [bold]Examples[/bold]

      riskstream up --config config/embedded.toml
    """
    settings = settings_of(config)
    broker_port, store_port = _ports(settings)
    make_folder("--dir", directory)
    with ExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(directory, port=broker_port))
        valkey = stack.enter_context(EmbeddedValkey(directory, port=store_port))
        out.print(f"Kafka at {broker.bootstrap}, state store at {valkey.url}; Ctrl-C ends them")
        _wait_for_a_signal()
    out.print("stopped")


def _ports(settings: Settings) -> tuple[int, int]:
    bootstrap = settings.broker.bootstrap
    url = settings.state.url.get_secret_value()
    host, _, broker_port = bootstrap.partition(":")
    scheme, _, address = url.partition("://")
    store_host, _, store_port = address.split("/")[0].partition(":")
    local = {host, store_host} <= {"127.0.0.1", "localhost"}
    if not (local and scheme == "redis" and broker_port.isdigit() and store_port.isdigit()):
        raise ConfigError(
            "riskstream up must have broker.bootstrap = 127.0.0.1:PORT and state.url = "
            f"redis://127.0.0.1:PORT, however: broker.bootstrap = {bootstrap}, and state.url has "
            f"the scheme {scheme} and the host {store_host.rpartition('@')[2]}"
        )
    return int(broker_port), int(store_port)


def _wait_for_a_signal() -> None:
    def ended(*_: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, ended)
    try:
        signal.pause()
    except KeyboardInterrupt:
        return
