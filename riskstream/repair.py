"""``riskstream state repair``: what the state store has lost for good, and going on without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from riskstream.options import (
    EXIT_FAILED,
    BundleOption,
    ConfigOption,
    JsonOption,
    load_bundle,
    out,
    print_json,
    run_async,
    settings_of,
)
from streams.log import set_up_logging

if TYPE_CHECKING:
    from engine.manifest import Manifest
    from streams.losses import Loss
    from streams.settings import Settings


def repair(
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on without what is lost.")
    ] = False,
    config: ConfigOption = None,
    bundle: BundleOption = None,
    json: JsonOption = False,
) -> None:
    """Show what the state store has lost for good, and go on without it if told to.

    Where Redis lost its last writes, states are rebuilt from Kafka. A partition
    whose records Kafka has deleted meanwhile waits. With --accept-loss it goes on
    with the first record that there is, and its accounts' states have never seen
    the others. Without, nothing is changed, and the exit code is 1 where
    something is lost.

    [bold]Examples[/bold]

      riskstream state repair --config config/production.toml

      riskstream state repair --accept-loss
    """
    settings = settings_of(config, bundle)
    set_up_logging("WARNING")
    losses = run_async(_repair(settings, load_bundle(settings).manifest, accept_loss))
    if json:
        print_json({"losses": [_named(each) for each in losses], "accepted": accept_loss})
    else:
        _show(losses, accept_loss)
    if losses and not accept_loss:
        raise typer.Exit(EXIT_FAILED)


async def _repair(settings: Settings, manifest: Manifest, accept_loss: bool) -> list[Loss]:
    from streams.repair import open_repair

    opened = await open_repair(settings, manifest)
    try:
        losses = await opened.losses()
        if accept_loss:
            await opened.accept(losses)
        return losses
    finally:
        await opened.close()


def _show(losses: Sequence[Loss], accepted: bool) -> None:
    if not losses:
        out.print("nothing is lost that Kafka does not hold")
        return
    for each in losses:
        held = "none" if each.position is None else f"{each.position:,}"
        out.print(
            f"partition {each.partition} of {each.topic}: the effect of {each.records:,} records "
            f"is lost (position in the store {held}, processed up to {each.scored:,}, Kafka holds "
            f"it from {each.beginning:,} on)",
            soft_wrap=True,
        )
    if accepted:
        out.print("accepted: they go on with the first record that Kafka holds")
    else:
        out.print("they wait; restore a later state of Redis, or go on with --accept-loss")


def _named(loss: Loss) -> dict[str, str | int | None]:
    return {
        "topic": loss.topic,
        "partition": loss.partition,
        "records": loss.records,
        "position": loss.position,
        "processed": loss.scored,
        "beginning": loss.beginning,
    }
