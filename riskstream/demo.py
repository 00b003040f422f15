"""``riskstream demo``: broker, state store, worker and transactions, all on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.history import History
from models.packs.registry import find_pack
from riskstream.demo_report import report
from riskstream.demo_run import load_plan, run
from riskstream.demo_view import open_view
from riskstream.options import (
    DEFAULT_PACK,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    BundleOption,
    JsonOption,
    bundle_folder,
    err,
    load_bundle,
    make_folder,
    settings_of,
)
from streams.configuration import load_settings
from streams.embedded.broker import EmbeddedBroker
from streams.embedded.valkey import EmbeddedValkey
from streams.embedded.worker import EmbeddedWorker
from streams.log import set_up_logging
from streams.settings import Settings


def demo(
    pack: Annotated[
        str, typer.Argument(help="Which demo: fraud, credit, market, or a pack's folder.")
    ] = DEFAULT_PACK,
    rate: Annotated[
        float | None,
        typer.Option(min=1, help="Events a second while the interesting part is streamed."),
    ] = None,
    directory: Annotated[Path, typer.Option("--dir", help="Where its files go.")] = Path(
        "riskstream-demo"
    ),
    bundle: BundleOption = None,
    json: JsonOption = False,
) -> None:
    """Watch events flow through Kafka, get scored, and turn into alerts.

    Starts an embedded broker, an embedded Valkey and a worker on free ports, and
    stops them on every way out.

    [bold]Examples[/bold]

      riskstream demo

      riskstream demo --rate 5000 --json | jq .recall

      riskstream demo market
    """
    set_up_logging("WARNING")
    folder = find_pack(pack)
    usual = pack == DEFAULT_PACK and bundle is None
    configured = settings_of(None, None if usual else bundle or folder / "bundle")
    manifest = load_bundle(configured).manifest
    plan = load_plan(folder / "demo", rate, manifest, None if usual else bundle_folder(configured))
    history = History.open(plan.transactions, manifest.schema)
    # SIGTERM ends the demo as Ctrl-C does, so that nothing is left running.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            settings = _start(stack, directory, bundle_folder(configured))
            view = stack.enter_context(open_view(quiet=json))
            try:
                result = asyncio.run(run(settings, plan, history, view, directory))
            finally:
                signal.signal(signal.SIGTERM, signal.default_int_handler)
    except KeyboardInterrupt:
        err.print("stopped; everything that the demo started has ended")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    report(result, history, plan, directory, json)
    if result.missing:
        raise typer.Exit(EXIT_FAILED)


def _start(stack: ExitStack, directory: Path, bundle: Path) -> Settings:
    """Start the servers and the worker, and return the worker's settings."""
    # Variables that name other servers would win over the demo's own.
    for name in [each for each in os.environ if each.upper().startswith("RISKSTREAM_")]:
        del os.environ[name]
    make_folder("--dir", directory)
    for log in directory.glob("*.log"):
        log.unlink()
    broker = stack.enter_context(EmbeddedBroker(directory))
    valkey = stack.enter_context(EmbeddedValkey(directory))
    values: dict[str, Any] = {
        "app.id": "riskstream-demo",
        "broker.bootstrap": broker.bootstrap,
        "broker.session_timeout_s": 6.0,
        "broker.fetch_wait_ms": 20,
        "state.url": valkey.url,
        "model.bundle": str(bundle.absolute()),
    }
    worker = stack.enter_context(EmbeddedWorker(directory, values))
    return load_settings(worker.config_path)
