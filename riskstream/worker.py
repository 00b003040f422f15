"""``riskstream worker`` and ``riskstream topics``."""

from __future__ import annotations

from typing import Annotated

import typer

from riskstream.options import (
    BundleOption,
    ConfigOption,
    JsonOption,
    load_bundle,
    out,
    print_json,
    run_async,
    settings_of,
)
from streams.kafka import ensure_topics
from streams.log import set_up_logging


def worker(
    config: ConfigOption = None,
    bundle: BundleOption = None,
    web_port: Annotated[
        int | None, typer.Option(help="The port of the web server; 0 for none.")
    ] = None,
) -> None:
    """Score the transactions topic until stopped by SIGTERM or Ctrl-C.

    Start as many as there are cores: the workers of one app.id share the
    partitions.

    [bold]Examples[/bold]

      riskstream worker --config config/production.toml

      RISKSTREAM_BROKER__BOOTSTRAP=kafka:9092 riskstream worker -b bundles/mine
    """
    from streams.loops import run
    from streams.worker import run_worker

    settings = settings_of(config, bundle, overrides={"worker.web_port": web_port})
    set_up_logging(settings.worker.log_level)
    run_async(run_worker(settings, load_bundle(settings)), run)


def topics(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Create the topics that are missing, and show all with their partitions.

    [bold]Examples[/bold]

      riskstream topics --config config/production.toml
    """
    settings = settings_of(config)
    set_up_logging("WARNING")
    found = run_async(ensure_topics(settings))
    if json:
        print_json(found)
        return
    for name, partitions in found.items():
        out.print(f"{name:<24}{partitions:>6} partitions")
