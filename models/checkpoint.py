"""What a training keeps after each epoch, to go on from when it was interrupted.

The file holds tensors and plain values, and nothing that is executed when it is read. It is
replaced whole, so that an interruption leaves the one before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.columns import Columns
from engine.errors import ConfigError
from engine.schema import Schema
from models.config import TrainConfig
from models.data import account_hashes

CHECKPOINT_FILE = "checkpoint.pt"

#: The version of the file's format.
_FORMAT = 1

#: Settings that change nothing that is learnt: where it runs, and what is chosen afterwards.
_FREE = (
    *("threads", "thresholds_by", "review_share", "alerts_per_day", "decline_precision"),
    *("review_cost", "fraud_loss_share", "decline_cost"),
)

_ADVICE = "give --restart to begin anew, or another folder with --checkpoint"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The checkpoint of one training.

    Args:
        path: the file.
        settings: what is learnt, and how: name to value, as texts.
        data: a digest of what it is learnt from.
    """

    path: Path
    settings: Mapping[str, str]
    data: str

    def read(self) -> dict[str, Any] | None:
        """Return what was kept; None if nothing was.

        Raises:
            ConfigError: the file is none that was written here, or of other settings or data.
        """
        if not self.path.exists():
            return None
        told = _load(self.path)
        if told["data"] != self.data:
            raise ConfigError(
                f"a checkpoint must be of the same data, however: {self.path} is of other events, "
                f"labels or periods of time; {_ADVICE}"
            )
        if told["settings"] != self.settings:
            raise ConfigError(
                f"a checkpoint must be of the same settings, however: in {self.path} "
                f"{_difference(told['settings'], self.settings)}; {_ADVICE}"
            )
        kept: dict[str, Any] = told["kept"]
        return kept

    def write(self, kept: Mapping[str, Any]) -> None:
        """Keep tensors and plain values in place of what was kept. Raises :class:`OSError`."""
        told = {
            "format": _FORMAT,
            "settings": dict(self.settings),
            "data": self.data,
            "kept": dict(kept),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        try:
            with fresh.open("wb") as file:
                torch.save(told, file)
                file.flush()
                os.fsync(file.fileno())
        except RuntimeError as error:  # PyTorch's writer tells a full disk so.
            raise OSError(str(error)) from error
        os.replace(fresh, self.path)

    def remove(self) -> None:
        """Remove the file, if there is one. Raises :class:`OSError`."""
        self.path.unlink(missing_ok=True)


def checkpoint_of(
    folder: Path,
    config: TrainConfig,
    columns: Columns,
    labels: NDArray[np.float32],
    schema: Schema,
) -> Checkpoint:
    """Return the checkpoint of a training.

    Args:
        folder: where its file is.
        config: how it is trained.
        columns, labels, schema: what it is trained on; see :func:`models.training.train`.
    """
    shared = [each.to_dict() for each in config.scorer.shared]
    told = {name: value for name, value in config.to_dict().items() if name not in _FREE}
    settings = dict(_flat({**told, "shared": shared, "schema": schema.to_dict()}))
    return Checkpoint(folder / CHECKPOINT_FILE, settings, data_digest(columns, labels, schema))


def data_digest(columns: Columns, labels: NDArray[np.float32], schema: Schema) -> str:
    """Return a digest of labelled events; see :func:`models.training.train`."""
    digest = sha256()
    for name in sorted(columns.values):
        digest.update(name.encode() + np.ascontiguousarray(columns.values[name]).tobytes())
    digest.update(account_hashes(columns, schema).tobytes())
    digest.update(np.ascontiguousarray(labels).tobytes())
    return digest.hexdigest()


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield above + name, repr(value)


def _difference(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Say of the first setting that differs what it was, and what it is."""
    name = next(each for each in {**old, **new} if old.get(each) != new.get(each))
    was, now = (each.get(name, "not set") for each in (old, new))
    if max(len(was), len(now)) > 60:
        return f"{name} is another one"
    return f"{name} is {was}, and now it is {now}"


def _load(path: Path) -> dict[str, Any]:
    try:
        told = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # What the reader raises on a file of another kind is anything.
        first = str(error).split("\n", 1)[0]
        raise ConfigError(
            f"a checkpoint must be one that riskstream wrote, however: {path} cannot be read "
            f"({first}); {_ADVICE}"
        ) from None
    if not isinstance(told, dict) or told.get("format") != _FORMAT:
        raise ConfigError(
            f"a checkpoint must be of the format {_FORMAT}, however: {path} is not; {_ADVICE}"
        )
    return told
