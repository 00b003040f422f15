"""Guessing which column of a file plays which role."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import pyarrow as pa

from engine.errors import ConfigError, HistoryError
from engine.label_values import read_labels
from models.draft.looks import Look

#: Words of a column's name that speak for a role, the strongest first.
_LABELS = ("is fraud", "fraud", "chargeback", "scam", "label", "target", "class", "bad")
_TIMES = ("time", "datetime", "timestamp", "date", "created", "ts", "at", "when", "unix")
_IDS = ("transaction id", "event id", "tx id", "payment id", "transfer id", "trans num", "id")
_ACCOUNTS = (
    *("card", "cc", "pan", "account", "wallet", "iban", "customer", "client", "user", "member"),
    *("payer", "sender", "debtor", "orig", "from", "source"),
)
_AMOUNTS = ("amount", "amt", "value", "total", "sum", "price", "paid", "volume")
_ENTITIES = (
    *("terminal", "merchant", "shop", "store", "seller", "receiver", "recipient", "beneficiary"),
    *("payee", "counterparty", "dest", "to", "device", "ip", "email", "phone", "address"),
)
_ENTITY_ENDS = ("id", "no", "number", "code", "hash")
_LEAST_ENTITIES, _MOST_ENTITIES = 20, 4

#: What must be there, and how an error calls it.
_NEEDED = {
    "event_id": "a text or whole number that is different in each row",
    "event_time": "a time: ISO 8601, or seconds or milliseconds since 1970",
    "account": "who pays: a text or whole number that many rows share",
    "amount": "the amount of money",
    "fraud": "the label: 1 or 0, true or false, fraud or genuine, empty where not known",
}


@dataclass(slots=True)
class Choices:
    """Which column plays which role.

    Args:
        needed: ``event_id``, ``event_time``, ``account``, ``amount`` and ``fraud``, each to its
            column.
        entities: columns of what accounts share, the likeliest first.
        numbers: columns of other numbers that an event has.
        left_out: the other columns, each to the reason.
    """

    needed: dict[str, Look] = field(default_factory=dict)
    entities: list[Look] = field(default_factory=list)
    numbers: list[Look] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def choose(table: pa.Table, given: Mapping[str, str]) -> Choices:
    """Choose a column for each role.

    Args:
        table: the file's columns.
        given: what the user says: ``event_id``, ``event_time``, ``account``, ``amount`` or
            ``fraud`` to its column; any other name is an entity.

    Raises:
        ConfigError: a column that the user names is not there.
        HistoryError: no column looks like one that is needed; a label is none.
    """
    looks = {name: Look.at(name, table.column(name)) for name in table.column_names}
    for name, column in given.items():
        if column not in looks:
            near = get_close_matches(column, looks, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(looks)}"
            raise ConfigError(
                f"--field must name a column of the file, however: {name}={column}; {hint}"
            )
    chosen = Choices()
    chosen.needed = {name: looks.pop(given[name]) for name in _NEEDED if name in given}
    chosen.entities = [looks.pop(at) for name, at in given.items() if name not in _NEEDED]
    for name, pick in _PICKS.items():
        if name not in chosen.needed:
            found = pick(list(looks.values()))
            if found is None:
                raise HistoryError(
                    f"a file must have a column for {name} ({_NEEDED[name]}), however: none of "
                    f"{', '.join(looks) or 'its columns'} looks like it; name it with --field "
                    f"{name}=COLUMN, or add one"
                )
            chosen.needed[name] = looks.pop(found.name)
    _choose_others(chosen, looks)
    return chosen


def _choose_others(chosen: Choices, looks: dict[str, Look]) -> None:
    """Make the other columns entities and numbers, or leave them out."""
    label = chosen.needed["fraud"]
    labels = read_labels(label.values, label.name)
    likely = sorted(filter(_is_entity, looks.values()), key=_entity_place)
    chosen.entities += likely[: max(_MOST_ENTITIES - len(chosen.entities), 0)]
    for look in looks.values():
        if look in chosen.entities:
            continue
        if not look.is_number:
            chosen.left_out[look.name] = "neither a number nor the name of something shared"
        elif look.has(_LABELS) is not None:
            chosen.left_out[look.name] = "its name speaks of fraud: known only afterwards?"
        elif look.tells(labels):
            chosen.left_out[look.name] = "it alone tells the label: known only afterwards?"
        elif look.distinct < 2:
            chosen.left_out[look.name] = "the same in all rows"
        elif look.time_format is not None or (look.is_unique and look.is_identifier):
            chosen.left_out[look.name] = "looks like another time or another id"
        else:
            chosen.numbers.append(look)


def _label(looks: Sequence[Look]) -> Look | None:
    labels = [look for look in looks if look.is_label]
    named = _first(labels, _LABELS)
    return named or next((look for look in labels if not look.is_number and look.says_fraud), None)


def _time(looks: Sequence[Look]) -> Look | None:
    times = [look for look in looks if look.time_format is not None]
    typed = [look for look in times if not look.is_number]
    return _first(times, _TIMES) or (typed[0] if typed else None)


def _event_id(looks: Sequence[Look]) -> Look | None:
    unique = [look for look in looks if look.is_identifier and look.is_unique]
    return _first(unique, _IDS) or (unique[0] if unique else None)


def _account(looks: Sequence[Look]) -> Look | None:
    shared = [look for look in looks if look.is_identifier and look.distinct >= 2]
    by_number = sorted(shared, key=lambda look: -look.distinct)
    return _first([look for look in by_number if not look.is_unique], _ACCOUNTS)


def _amount(looks: Sequence[Look]) -> Look | None:
    return _first([look for look in looks if look.is_number], _AMOUNTS)


#: In this order, since a column has one role: the surest first.
_PICKS: dict[str, Callable[[Sequence[Look]], Look | None]] = {
    "fraud": _label,
    "event_time": _time,
    "event_id": _event_id,
    "amount": _amount,
    "account": _account,
}


def _first(looks: Sequence[Look], hints: Sequence[str]) -> Look | None:
    """Return the look whose name has the strongest hint; the first of several."""
    found = [(place, at) for at, look in enumerate(looks) if (place := look.has(hints)) is not None]
    return looks[min(found)[1]] if found else None


def _is_entity(look: Look) -> bool:
    if not look.is_identifier or look.is_unique or look.distinct < _LEAST_ENTITIES:
        return False
    return look.has(_ENTITIES) is not None or look.words[-1:] in [[end] for end in _ENTITY_ENDS]


def _entity_place(look: Look) -> int:
    place = look.has(_ENTITIES)
    return len(_ENTITIES) if place is None else place
