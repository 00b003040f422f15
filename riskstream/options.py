"""What several commands have in common: options, their parsing, and where output goes."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any, TypeVar

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.bundle import Bundle
from engine.errors import ConfigError, HistoryError
from models.packs.registry import pack_folder
from streams.configuration import CONFIG_VARIABLE, load_settings
from streams.settings import Settings

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BUNDLE = 3
EXIT_INTERRUPTED = 130

_T = TypeVar("_T")

_DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[dhms])")
_UNIT_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_MAX_DURATION_S = 3_650 * 86_400

#: The pack whose committed bundle is used where no bundle is named.
DEFAULT_PACK = "fraud"

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar=CONFIG_VARIABLE, help="The configuration file (TOML)."),
]
BundleOption = Annotated[
    Path | None, typer.Option("--bundle", "-b", help="The bundle's folder, instead of the file's.")
]
FieldOption = Annotated[
    list[str] | None,
    typer.Option(
        "--field", "-f", help="Where a field stands: NAME=COLUMN. May be repeated.", metavar="N=C"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
FromOption = Annotated[
    str | None, typer.Option("--from", help="Leave out events before this time (ISO 8601, UTC).")
]
UntilOption = Annotated[
    str | None,
    typer.Option("--until", help="Leave out events from this time on (ISO 8601, UTC)."),
]

LabelsDelayOption = Annotated[
    str | None,
    typer.Option(
        "--labels-delay",
        help="Use the file's labels, each known so long after its event: 7d, 12h, 30m.",
    ),
]

#: Standard output, for results; standard error, for progress and errors.
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def settings_of(
    config: Path | None,
    bundle: Path | None = None,
    fields: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the configuration, with what the command line says over it.

    Raises:
        ConfigError: the file, a setting, or one of the ``NAME=COLUMN`` in ``fields`` is wrong.
    """
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    given |= {f"fields.{name}": column for name, column in parse_fields(fields).items()}
    if bundle is not None:
        given["model.bundle"] = str(bundle)
    return load_settings(config, given)


def bundle_folder(settings: Settings) -> Path:
    """Return the folder of the configured bundle, or of the one that comes with riskstream."""
    return settings.model.bundle or pack_folder(DEFAULT_PACK) / "bundle"


def tell_unused_labels(bundle: Bundle) -> None:
    """Say so where a model uses no labels."""
    if not any(each.takes_labels for each in bundle.manifest.shared):
        err.print(f"the model {bundle.manifest.name} uses no labels: they change no score")


def load_bundle(settings: Settings) -> Bundle:
    """Read and check the configured bundle. Raises :class:`engine.errors.BundleError`."""
    return Bundle.load(bundle_folder(settings))


def parse_fields(fields: Sequence[str] | None) -> dict[str, str]:
    """Read ``NAME=COLUMN`` options. Raises :class:`engine.errors.ConfigError`."""
    paths = {}
    for each in fields or ():
        name, found, column = each.partition("=")
        if not (name and found and column):
            raise ConfigError(f"--field must be NAME=COLUMN, however: {each!r}")
        paths[name] = column
    return paths


def parse_time(option: str, text: str | None) -> int | None:
    """Read a time option as ms since 1970. Raises :class:`engine.errors.ConfigError`."""
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
        aware = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{option} must be an ISO 8601 time such as 2026-01-31 or 2026-01-31T12:00:00Z, "
            f"however: {text!r}"
        ) from None
    return round(aware.timestamp() * 1000)


def parse_duration(option: str, text: str | None) -> int | None:
    """Read a duration as milliseconds. Raises :class:`engine.errors.ConfigError`.

    >>> parse_duration("--labels-delay", "7d"), parse_duration("--labels-delay", "1.5h")
    (604800000, 5400000)
    """
    if text is None:
        return None
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f"{option} must be a number and a unit of d, h, m or s, such as 7d, however: {text!r}"
        )
    seconds = float(found["number"]) * _UNIT_S[found["unit"]]
    if seconds > _MAX_DURATION_S:
        raise ConfigError(f"{option} must be at most 3650d, however: {text!r}")
    return round(seconds * 1000)


def format_duration(ms: int) -> str:
    """Return a duration in the largest unit that it is at least one of.

    >>> format_duration(604_800_000), format_duration(5_400_000)
    ('7 d', '1.5 h')
    """
    seconds = ms / 1000
    unit = next((each for each, size in _UNIT_S.items() if seconds >= size), "s")
    return f"{seconds / _UNIT_S[unit]:g} {unit}"


def format_time(ms: int) -> str:
    """Return a time in UTC for people, to the second."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def make_folder(option: str, folder: Path) -> None:
    """Make the folder that an option names, and check that files can be written to it.

    Raises:
        ConfigError: it cannot be made, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"{option} must be a folder to write to, or one to make, however: {error}"
        ) from None


@contextmanager
def writable(option: str, path: Path) -> Iterator[None]:
    """Make the folder of the file that an option names, for a block that writes the file.

    Raises:
        HistoryError: the folder cannot be made, or the file not be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise HistoryError(f"{option} must be writable, however: {error}") from None


@contextmanager
def new_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar, on a terminal only, and give what tells it how much is done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    sys.stdout.write(orjson.dumps(value).decode() + "\n")
    sys.stdout.flush()


def run_async(
    main: Coroutine[Any, Any, _T], run: Callable[[Coroutine[Any, Any, _T]], _T] = asyncio.run
) -> _T:
    """Run a coroutine to its end; Ctrl-C ends the program with exit code 130."""
    try:
        return run(main)
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
