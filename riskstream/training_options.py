"""What the commands that train have in common: options, and the settings they come to."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import ConfigError
from models.config import TrainConfig, load_train_config

#: On what a model may be trained.
DEVICES = ("auto", "cpu", "cuda")

_EXTRA = ("onnxscript", "sklearn", "torch")

FamilyOption = Annotated[
    str | None,
    typer.Option(
        help="The sequence cell, instead of the pack's: gru, cnn, attention, or mlp (none)."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="N=V", help="A setting of training.toml: NAME=VALUE. May be repeated."
    ),
]
DeviceOption = Annotated[
    str, typer.Option(help="cpu, cuda, or auto: CUDA where there is such a device.")
]


def training_settings(
    folder: Path, family: str | None, given: Sequence[str] | None, **changes: Any
) -> TrainConfig:
    """Return a pack's settings for a family, with what the command line says over them.

    Args:
        folder: the pack's.
        family: of the cell; None for the pack's.
        given: settings as NAME=VALUE.
        changes: settings by name; None leaves one as it is.

    Raises:
        ConfigError: there is no such family or setting, or one is wrong.
    """
    settings = dict(setting(each) for each in given or ())
    settings |= {name: value for name, value in changes.items() if value is not None}
    config = load_train_config(folder, family)
    return config.with_family(config.scorer.cell.name, settings)


def setting(given: str) -> tuple[str, Any]:
    """Read a setting that stands as NAME=VALUE, its value as in TOML, or a plain text.

    >>> setting("hidden=[64, 32]"), setting("thresholds_by=cost")
    (('hidden', [64, 32]), ('thresholds_by', 'cost'))

    Raises:
        ConfigError: it does not stand so.
    """
    name, found, value = given.partition("=")
    if not (name and found and value):
        raise ConfigError(f"--set must be NAME=VALUE, however: {given!r}")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value


def check_device(device: str) -> None:
    """Raise :class:`ConfigError` if there is no such device."""
    if device not in DEVICES:
        raise ConfigError(f"--device must be one of {', '.join(DEVICES)}, however: {device!r}")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ConfigError(
                "--device cuda must have a CUDA device and a PyTorch that is built for it, "
                "however: PyTorch finds none; give --device cpu"
            )


def require_training(*more: str) -> None:
    """Check that the extra ``train`` is installed. Raises :class:`engine.errors.ConfigError`.

    Args:
        more: packages of it that not every command needs.
    """
    missing = [name for name in (*_EXTRA, *more) if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"training must have the extra train, however: {missing[0]} is not installed; "
            "pip install 'riskstream[train]'"
        )
