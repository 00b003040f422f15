"""The entry point: commands, errors as one line, and exit codes that mean something."""

from __future__ import annotations

import io
import logging
import os
import sys
from importlib import import_module
from importlib.metadata import version
from traceback import format_exc
from typing import Annotated

import typer
from rich.markup import escape

from engine.errors import BundleError, ConfigError, HistoryError, RiskstreamError, SchemaError
from riskstream.options import EXIT_BUNDLE, EXIT_FAILED, EXIT_USAGE, err, out
from streams.configuration import variable_of
from streams.log import get_logger

_LEVEL_VARIABLE = variable_of("worker.log_level")

_EPILOG = (
    "Exit codes: 0 done; 1 something failed, such as a server that is not there; 2 a wrong option, "
    "setting, schema or file; 3 a bundle that was refused; 130 interrupted."
)

#: The commands in the order of the help, and the modules that hold them.
_COMMANDS = {
    "demo": "riskstream.demo",
    "up": "riskstream.up",
    "worker": "riskstream.worker",
    "replay": "riskstream.replay",
    "label": "riskstream.label",
    "alerts": "riskstream.alerts",
    "score": "riskstream.score",
    "topics": "riskstream.worker",
    "train": "riskstream.train",
    "search": "riskstream.search",
    "evaluate": "riskstream.evaluate",
    "settings": "riskstream.settings",
}
#: Commands that have commands of their own.
_GROUPS = {each: f"riskstream.{each}" for each in ("bundle", "data", "state")}


def new_app(only: str | None = None) -> typer.Typer:
    """Return the command line.

    Args:
        only: a command: of no other one anything is imported, so that a worker starts at once.
            None, or what is no command, for all.
    """
    app = typer.Typer(
        name="riskstream",
        help="Scores financial events for risk while they flow.",
        epilog=_EPILOG,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    is_one = only in _COMMANDS or only in _GROUPS
    for name, module in _COMMANDS.items():
        if name == only or not is_one:
            app.command(name)(getattr(import_module(module), name))
    for name, module in _GROUPS.items():
        if name == only or not is_one:
            app.add_typer(import_module(module).app, name=name)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"riskstream {version('riskstream')}")
        raise typer.Exit


def _root(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character shows a question mark.
        sys.stdout.reconfigure(errors="replace")
    # Kept from here, since the demo takes such variables out of its environment.
    wants_traceback = os.environ.get(_LEVEL_VARIABLE) == "DEBUG"
    try:
        new_app(sys.argv[1] if len(sys.argv) > 1 else None)()
    except RiskstreamError as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}")
        sys.exit(_exit_code(error))
    except Exception as error:
        if wants_traceback or get_logger("main").isEnabledFor(logging.DEBUG):
            err.print(format_exc(), markup=False)
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"
        err.print(
            f"[bold red]error:[/] this is a bug in riskstream: {escape(found)}; please report it "
            f"with the traceback that {_LEVEL_VARIABLE}=DEBUG shows"
        )
        sys.exit(EXIT_FAILED)


def _exit_code(error: RiskstreamError) -> int:
    if isinstance(error, BundleError):
        return EXIT_BUNDLE
    if isinstance(error, ConfigError | SchemaError | HistoryError):
        return EXIT_USAGE
    return EXIT_FAILED
