"""Writing the draft of a pack: schema.toml, scorer.toml and training.toml."""

from __future__ import annotations

import keyword
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.errors import HistoryError
from models.config import SCORER_FILE, TRAINING_FILE
from models.datacheck.table import numbers, read_flat
from models.draft.choose import Choices, choose
from models.draft.looks import Look
from models.packs.registry import SCHEMA_FILE, pack_folder
from models.toml_text import toml_families, toml_lines, toml_value

#: The pack whose settings a draft begins with.
_MODEL_PACK = "fraud"
#: Names that an entity or a number of the event must not take: fields, and groups of reasons.
_TAKEN = (
    *("event_id", "event_time", "account", "amount", "fraud"),
    *("past_amounts", "frequency", "recency", "counterparty", "clock", "event", "sequence"),
)
_LEAST_DAYS = 60.0


@dataclass(frozen=True, slots=True)
class Draft:
    """A pack to be read and corrected.

    Args:
        files: name to text.
        choices: each column, its role, and what that means or why it is left out.
    """

    files: Mapping[str, str]
    choices: list[tuple[str, str, str]]


def draft_pack(path: Path, name: str, given: Mapping[str, str]) -> Draft:
    """Draft a pack for a file.

    Args:
        path: a parquet, CSV or JSON lines file.
        name: the pack's.
        given: the columns that are known; see :func:`models.draft.choose.choose`.

    Raises:
        ConfigError: a column that is given is not there.
        HistoryError: the file has no rows, cannot be read, or lacks a column that is needed.
    """
    table = read_flat(path)
    if not table.num_rows:
        raise HistoryError(f"a file must have rows for a draft, however: {path} has none")
    chosen = choose(table, given)
    entities = _named(chosen.entities, {})
    features = _named(chosen.numbers, entities)
    files = {
        SCHEMA_FILE: _schema(path.name, chosen, entities, features),
        SCORER_FILE: _scorer(name, chosen, list(entities), list(features)),
        TRAINING_FILE: _training(chosen.needed["event_time"]),
    }
    choices = [(look.name, role, "") for role, look in chosen.needed.items()]
    choices += [(look.name, "entity", f"{look.distinct:,} shared") for look in entities.values()]
    choices += [(look.name, "feature", "a number of the event") for look in features.values()]
    choices += [(column, "left out", why) for column, why in chosen.left_out.items()]
    return Draft(files, choices)


def _named(looks: Iterable[Look], others: Mapping[str, Look]) -> dict[str, Look]:
    """Return columns by the names that their fields get, each its own."""
    named: dict[str, Look] = {}
    for look in looks:
        name = re.sub(r"\W+", "_", look.name, flags=re.ASCII).strip("_").lower() or "field"
        name = f"f_{name}" if name[0].isdigit() or keyword.iskeyword(name) else name
        while name in _TAKEN or name in others or name in named:
            name += "_2"
        named[name] = look
    return named


def _schema(
    file: str, chosen: Choices, entities: Mapping[str, Look], features: Mapping[str, Look]
) -> str:
    need = chosen.needed
    time_format = need["event_time"].time_format or "iso8601"
    blocks = [
        f"# What an event looks like, as columns of {file} suggest: check each.\n"
        "# path is the column, or the place in the JSON of a stream; dots go down into objects.\n"
        "# Every field is documented in docs/own-data.md.",
        _field("event_id", need["event_id"], "identifier", "event_id"),
        _field("event_time", need["event_time"], "timestamp", "event_time", format=time_format),
        _field("account", need["account"], "identifier", "account"),
        _amount_field(need["amount"]),
        *(_field(name, look, "identifier", "entity") for name, look in entities.items()),
        *(_number_field(name, look) for name, look in features.items()),
        "# 1, true or fraud; 0, false or genuine; empty where it is not known.\n"
        + _field("fraud", need["fraud"], "number", "label"),
    ]
    if chosen.left_out:
        lines = [f"#   {column}: {why}" for column, why in chosen.left_out.items()]
        blocks.append("\n".join(["# Left out:", *lines]))
    return "\n\n".join(blocks) + "\n"


def _field(name: str, look: Look, kind: str, role: str, **more: Any) -> str:
    values = {"name": name, "path": look.name, "type": kind, "role": role, **more}
    return "[[fields]]\n" + toml_lines(values)


def _amount_field(look: Look) -> str:
    values = numbers(look.values)
    if np.nanmin(values, initial=0.0) >= 0:
        return _field("amount", look, "number", "amount", minimum=0.0)
    note = "# There are amounts below 0. The features take them as they are: refunds may mislead.\n"
    return note + _field("amount", look, "number", "amount")


def _number_field(name: str, look: Look) -> str:
    if not look.missing:
        return _field(name, look, "number", "feature")
    share = look.missing / len(look.values)
    note = f"# Missing in {share:.1%} of the rows: the default stands for that.\n"
    return note + _field(name, look, "number", "feature", required=False, default=0.0)


def _scorer(name: str, chosen: Choices, entities: list[str], features: list[str]) -> str:
    """Return what the model is made of: the model pack's settings with this file's features."""
    usual = _usual(SCORER_FILE)
    kept = [each for each, value in usual.items() if not isinstance(value, dict | list | str)]
    top: dict[str, Any] = {"pack": name}
    if entities:
        top["counterparty"] = entities[0]
    top |= {each: usual[each] for each in (*kept, "hidden") if each in usual}
    amounts = numbers(chosen.needed["amount"].values)
    blocks = [
        "# What the model is made of. Each feature's options are in its file's docstring, in\n"
        "# models/features; the shared entities are explained in docs/context.md.\n\n"
        + toml_lines(top)
        + "\n\n[cell]\n"
        + toml_lines(usual["cell"]),
        *_account_features(amounts, bool(entities), features),
        *(block for each in [*entities, "account"] for block in _entity(each)),
        *_reasons(entities, features),
    ]
    return "\n\n".join(blocks) + "\n"


def _account_features(amounts: Any, at_counterparties: bool, features: list[str]) -> list[str]:
    known = amounts[np.isfinite(amounts)]
    usual, high = (_rounded(float(each)) for each in np.quantile(np.abs(known), (0.5, 0.95)))
    blocks = [
        "# Amounts above this one, which one in twenty is, have a column of their own.\n"
        + _feature("amount", limits=[high]),
        _feature("recency"),
        _feature("windows", hours=[1, 24, 168]),
        "# prior: what an unknown account is taken to spend; the median of all amounts.\n"
        + _feature("spread", prior=max(usual, 0.01)),
    ]
    if at_counterparties:
        blocks.append(_feature("novelty"))
    if features:
        blocks.append("# What the event itself says.\n" + _feature("numbers", fields=features))
    return blocks


def _entity(name: str) -> list[str]:
    """Return an entity and its features: what became known of it, in buckets of half a day."""
    head = {"name": name, "field": name, "bucket_hours": 12, "buckets": 60, "grace_hours": 1}
    known = {"name": "known", "source": "label", "measure": "count"}
    frauds = {"name": "frauds", "source": "label", "measure": "positive"}
    return [
        f"# What is known of the {name}: labels, in buckets of the time they became known.\n"
        "[[shared]]\n" + toml_lines(head),
        *("[[shared.quantities]]\n" + toml_lines(each) for each in (known, frauds)),
        _feature("entity_windows", entity=name, quantities=["known", "frauds"], days=[7, 28]),
        _feature("entity_rates", entity=name, positives="frauds", known="known", days=[7, 28]),
        _feature("entity_recency", entity=name, positives="frauds", known="known"),
    ]


def _reasons(entities: list[str], features: list[str]) -> list[str]:
    """Return the sentences of the alerts: the model pack's, and one for each entity."""
    usual = _usual(SCORER_FILE)["reasons"]
    texts = {each["name"]: each["text"] for each in usual if each["name"] in _TAKEN}
    texts |= {name: f"Frauds are known of this {name.replace('_', ' ')}." for name in entities}
    if features:
        texts["event"] = "What the event itself says is unusual."
    note = "# What an alert says, for each group of features.\n"
    blocks = [
        "[[reasons]]\n" + toml_lines({"name": name, "text": text}) for name, text in texts.items()
    ]
    return [note + blocks[0], *blocks[1:]]


def _training(time: Look) -> str:
    """Return how it is trained: as the model pack, its periods shortened for a short file."""
    usual = _usual(TRAINING_FILE)
    days = _days(time)
    note = "# How the model is trained. `riskstream train` takes some of these as options too."
    if days < _LEAST_DAYS:
        share = days / _LEAST_DAYS
        for name in ("warm_up_days", "label_delay_days", "validation_days"):
            usual[name] = _rounded(usual[name] * share)
        note += f"\n# The periods are short, since the file spans {days:.1f} days only."
    notes = {
        "warm_up_days": "the first days build up states and train nothing",
        "label_delay_days": "how long after its event a label becomes known",
        "validation_days": "the last days choose the epoch and the thresholds",
        "review_share": "the share of the events that can be reviewed",
    }
    families: Mapping[str, dict[str, Any]] = usual.pop("families", {})
    lines = [
        f"{name} = {toml_value(value)}" + (f"  # {notes[name]}" if name in notes else "")
        for name, value in usual.items()
    ]
    tables = ["", toml_families(families)] if families else []
    return "\n".join([note, "", *lines, *tables]) + "\n"


def _usual(file: str) -> dict[str, Any]:
    """Return what the model pack says in one of its files."""
    return tomllib.loads((pack_folder(_MODEL_PACK) / file).read_text(encoding="utf-8"))


def _days(look: Look) -> float:
    """Return how many days a column of times spans."""
    if look.time_format == "iso8601":
        values = look.values
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            values = pc.cast(pc.utf8_slice_codeunits(values, 0, 10), pa.date32())
        ends = pc.min_max(values.cast(pa.timestamp("s"), safe=False)).as_py()
        return float((ends["max"] - ends["min"]).total_seconds()) / 86_400
    per_day = 86_400 if look.time_format == "epoch_s" else 86_400_000
    values = numbers(look.values)
    return float(np.nanmax(values) - np.nanmin(values)) / per_day


def _feature(name: str, **options: Any) -> str:
    return "[[features]]\n" + toml_lines({"name": name, **options})


def _rounded(value: float) -> float:
    """Return a number with two digits that matter.

    >>> _rounded(217.3), _rounded(0.0468)
    (220.0, 0.047)
    """
    return float(f"{value:.2g}")
