"""What riskstream publishes: scores, alerts and dead letters, encoded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from engine.columns import Columns, Reject
from engine.hashing import event_ids
from engine.scored import Scored
from engine.scorer import Scorer

#: How many hex digits of a bundle's digest a record carries.
DIGEST_SHOWN = 12


class Record(msgspec.Struct, gc=False, frozen=True):
    """A record to publish: the key is the account where there is one."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Times(msgspec.Struct, frozen=True):
    """When things happened, in milliseconds since 1970.

    Args:
        published: when each event was published; int64 ``[n]``.
        received: when the batch arrived.
        scored: when its scores were there.
    """

    published: NDArray[np.int64]
    received: int
    scored: int

    def of(self, place: int) -> dict[str, int]:
        """Return the times of one event as a record carries them."""
        return {
            "published_ms": int(self.published[place]),
            "received_ms": self.received,
            "scored_ms": self.scored,
        }


class Score(msgspec.Struct, gc=False, frozen=True):
    """What is published of every event; times are in milliseconds since 1970.

    ``outputs`` is there where the bundle has outputs.
    """

    score_id: str
    event_id: str
    account: str
    event_time_ms: int
    score: float
    decision: str
    duplicate: bool
    late: bool
    model: str
    model_version: str
    bundle: str
    published_ms: int
    received_ms: int
    scored_ms: int
    outputs: dict[str, float] | msgspec.UnsetType = msgspec.UNSET


class Encoder:
    """Encodes the scores of one scorer.

    Every record names the model: its name, its version and the bundle's digest.
    """

    def __init__(self, scorer: Scorer) -> None:
        manifest = scorer.manifest
        self._decider = scorer.decider
        self._decisions, self._outputs = manifest.decisions, manifest.outputs
        self._reasons_in = manifest.reasons_in
        self._amount = manifest.schema.amount
        self._model = {
            "model": manifest.name,
            "model_version": manifest.version,
            "bundle": scorer.bundle.digest[:DIGEST_SHOWN],
        }
        self._encode = msgspec.json.Encoder().encode

    def scores(self, columns: Columns, scored: Scored, times: Times) -> list[Record]:
        """Return one record for each of the ``n`` events, keyed by account."""
        encode, n = self._encode, len(columns)
        rows = zip(
            event_ids("score", columns.accounts, columns.event_ids),
            columns.event_ids,
            columns.accounts,
            columns.event_time_ms.tolist(),
            _rounded(scored.scores),
            [self._decisions[each] for each in scored.decisions.tolist()],
            scored.duplicate.tolist(),
            scored.late.tolist(),
            *(repeat(each, n) for each in self._model.values()),
            times.published.tolist(),
            repeat(times.received, n),
            repeat(times.scored, n),
            self._named(scored),
            strict=True,
        )
        keys = [account.encode() for account in columns.accounts]
        return [Record(key, encode(Score(*row))) for key, row in zip(keys, rows, strict=True)]

    def alerts(
        self, columns: Columns, scored: Scored, times: Times, values: Sequence[bytes | None]
    ) -> list[Record]:
        """Return a record for each event that is not approved, with its reasons.

        Args:
            columns: the batch's events.
            scored: their scores.
            times: when things happened.
            values: the records that the batch was decoded from; an alert carries its event's own
                fields, so that an analyst needs no second look-up.
        """
        places = sorted(scored.reasons)
        if not places:
            return []
        picked = columns.take(np.array(places, dtype=np.int64))
        ids = event_ids("alert", picked.accounts, picked.event_ids)
        scores = _rounded(scored.scores)
        records = []
        for alert_id, place in zip(ids, places, strict=True):
            head = {"alert_id": alert_id, **self._answer(columns, scored, scores, place)}
            event = _event(values[columns.rows[place]] or b"null")
            body = {**head, **event, **self._model, **times.of(place)}
            records.append(Record(columns.accounts[place].encode(), orjson.dumps(body)))
        return records

    def _answer(
        self, columns: Columns, scored: Scored, scores: Sequence[float], place: int
    ) -> dict[str, Any]:
        return {
            "event_id": columns.event_ids[place],
            "account": columns.accounts[place],
            "event_time_ms": int(columns.event_time_ms[place]),
            "score": scores[place],
            "decision": self._decisions[scored.decisions[place]],
            "late": bool(scored.late[place]),
            "amount": self._amount_of(columns, place),
            **self._beyond(scored, place),
            "reasons": self._reasons(scored, place),
        }

    def _named(self, scored: Scored) -> Iterable[dict[str, float] | msgspec.UnsetType]:
        """Return the outputs of each event by name."""
        if scored.outputs is None:
            return repeat(msgspec.UNSET, len(scored.scores))
        rows = np.round(scored.outputs.astype(np.float64), 7).tolist()
        return [dict(zip(self._outputs, row, strict=True)) for row in rows]

    def _beyond(self, scored: Scored, place: int) -> dict[str, Any]:
        """Return what only a bundle with outputs or rules says of an alert."""
        said: dict[str, Any] = {}
        if scored.outputs is not None:
            row = np.round(scored.outputs[place].astype(np.float64), 7).tolist()
            said["outputs"] = dict(zip(self._outputs, row, strict=True))
        if self._decider.rules:
            said["rules"] = [
                {
                    "name": rule.name,
                    "text": rule.text,
                    "value": round(value, 7),
                    "limit": rule.limit,
                }
                for rule, value in self._decider.fired(scored.scores, scored.outputs, place)
            ]
        return said

    def _reasons(self, scored: Scored, place: int) -> list[dict[str, str | float]]:
        return [
            {
                "group": each.group.name,
                "text": each.group.text,
                self._reasons_in: each.shown,
            }
            for each in scored.reasons[place]
            if each.is_reason
        ]

    def _amount_of(self, columns: Columns, place: int) -> float | None:
        if self._amount is None:
            return None
        return float(str(columns.values[self._amount.name][place]))


def without_event(alert: Record) -> Record | None:
    """Return an alert that was too large for its topic without its event, and with a mark.

    Returns:
        None where it has no event to leave out.
    """
    body = orjson.loads(alert.value or b"{}")
    if "event" not in body and "event_text" not in body:
        return None
    body.pop("event", None)
    body.pop("event_text", None)
    body["event_too_large"] = True
    return msgspec.structs.replace(alert, value=orjson.dumps(body))


def _event(value: bytes) -> dict[str, Any]:
    """Return an event as an alert carries it: as it came, or as a text where parsers would fail.

    An event's other fields are not read when it is scored, and may hold such as 1e999.
    """
    try:
        orjson.loads(b"[" + value + b"]")  # as deep as it will be in the alert
    except orjson.JSONDecodeError:
        return {"event_text": value.decode("utf-8", "replace")}
    return {"event": orjson.Fragment(value)}


def _rounded(scores: NDArray[np.float32]) -> list[float]:
    rounded: list[float] = scores.astype(np.float64).round(7).tolist()
    return rounded


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record came from: topic, partition, offset, and its time in ms since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


def dead_letter(
    reject: Reject, key: bytes | None, value: bytes | None, origin: Origin, part_bytes: int
) -> list[Record]:
    """Return the dead letter of an event that cannot be scored.

    The record's value is the original bytes, untouched, and so is its key but for what lies
    beyond 64 KiB. Reason and origin are headers. A value that is larger than ``part_bytes`` is cut
    into parts, each a record of its own, so that no event is too large to be kept.
    """
    headers = (
        ("reason", str(reject.reason).encode()),
        ("detail", reject.detail.encode("utf-8", "replace")),
        ("topic", origin.topic.encode()),
        ("partition", str(origin.partition).encode()),
        ("offset", str(origin.offset).encode()),
        ("timestamp_ms", str(origin.timestamp_ms).encode()),
    )
    if value is None or len(value) <= part_bytes:
        return [Record(_short(key), value, headers)]
    parts = [value[at : at + part_bytes] for at in range(0, len(value), part_bytes)]
    return [
        Record(
            _short(key),
            part,
            (*headers, ("part", str(at + 1).encode()), ("parts", str(len(parts)).encode())),
        )
        for at, part in enumerate(parts)
    ]


def _short(key: bytes | None, most: int = 65_536) -> bytes | None:
    return key if key is None else key[:most]
