"""The labelled events that a training reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.columns import Columns
from engine.schema import Schema
from models.config import TrainConfig
from models.packs.fit import check_pack
from models.packs.registry import load_schema
from models.periods import split
from riskstream.histories import Period, decode_history, labels_of, open_history
from riskstream.options import settings_of

Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LabelledEvents:
    """``n`` events that can be read, their labels, NaN where not known, and their schema."""

    columns: Columns
    labels: Floats
    schema: Schema


@dataclass(frozen=True, slots=True)
class Labelled:
    """What is to be read for a training.

    Args:
        pack: the pack's folder.
        settings: of the training.
        data: the file.
        period: which part of it.
        field: where fields stand, as the command line says it.
        config: the configuration's file.
    """

    pack: Path
    settings: TrainConfig
    data: Path
    period: Period
    field: Sequence[str] | None
    config: Path | None

    def read(self) -> LabelledEvents:
        """Read the events, and check that the settings can be trained on them.

        Raises:
            ConfigError, HistoryError, SchemaError: they cannot.
        """
        schema = load_schema(self.pack)
        check_pack(schema, self.settings.scorer)
        history = open_history(
            self.data, schema, settings_of(self.config, None, self.field), self.period
        )
        labelled = self._learns_labels()
        every = labels_of(history, self.data, "training") if labelled else None
        columns = decode_history(history, self.data).columns
        labels = np.full(len(columns), np.nan, np.float32) if every is None else every[columns.rows]
        columns = replace(columns, rows=np.arange(len(columns)))
        if labelled:
            split(columns.event_time_ms, labels, self.settings, columns.accounts)
        return LabelledEvents(columns, labels, schema)

    def _learns_labels(self) -> bool:
        """Return whether there are to be labels: a forecast learns from the events to come."""
        from models.answers.registry import learns_labels

        return learns_labels(self.settings.scorer.output.name)
