"""What a score may know: by construction, nothing of what comes later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from engine.buckets import Additions
from engine.bundle import Bundle
from engine.columns import Columns
from engine.decode import Decoder
from engine.device import Device
from engine.errors import BundleError
from engine.knowledge import Knowledge, RingTable
from engine.offline import OfflineScorer
from engine.schema import Field, FieldType, Role, Schema
from engine.scorer import Scorer
from engine.shared import Measure, SharedEntity, Source
from tests.bundles import EVERY, SCHEMA, TERMINAL, shared_bundle, weights
from tests.engine.tools import NOW_MS, payment, pieces

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
DELAY_MS = 2 * DAY_MS

#: (hours before now, account, terminal, amount, fraud or unlabelled)
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 24 * 12),
        st.sampled_from("ab"),
        st.sampled_from("pq"),
        st.sampled_from([1.0, 50.0, 5_000.0]),
        st.sampled_from([0.0, 1.0, 1.0, np.nan]),
    ),
    min_size=1,
    max_size=30,
).map(lambda events: sorted(events, key=lambda each: -each[0]))

Event = tuple[int, str, str, float, float]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_bundle(tmp_path_factory.mktemp("bundle") / "shared")


@pytest.fixture(scope="module")
def scorer(folder: Path) -> Scorer:
    return Scorer(Bundle.load(folder), Device.CPU)


def encoded(events: Sequence[Event], ids: Sequence[str] | None = None) -> list[bytes]:
    return [
        orjson.dumps(
            payment(
                transaction_id=f"t{at}" if ids is None else ids[at],
                time=str(np.datetime64(NOW_MS - hours * HOUR_MS, "ms")),
                card_id=account,
                terminal_id=terminal,
                amount=amount,
            )
        )
        for at, (hours, account, terminal, amount, _) in enumerate(events)
    ]


def labels_of(events: Sequence[Event]) -> NDArray[np.float32]:
    return np.array([each[4] for each in events], dtype=np.float32)


def log_odds(
    scorer: Scorer, events: Sequence[Event], delay_ms: int = DELAY_MS, cuts: Sequence[int] = ()
) -> NDArray[np.float64]:
    offline = OfflineScorer(Decoder(SCHEMA), scorer, delay_ms, with_features=True)
    values, labels = encoded(events), labels_of(events)
    parts = []
    for piece in pieces(len(events), cuts):
        scored = offline.score(values[piece], NOW_MS, labels[piece]).scored
        assert scored.features is not None
        odds = scored.features.sum(axis=1, dtype=np.float64) - 4
        assert_allclose(scored.scores, 1 / (1 + np.exp(-odds)), atol=1e-6)
        parts.append(odds)
    return np.concatenate(parts)


def sums(
    shared: SharedEntity, events: Sequence[Event], at: int, delay_ms: int
) -> NDArray[np.float64]:
    """What an event may read, straight from the definition: float64 ``[buckets, quantities]``."""
    length_ms = shared.bucket_s * 1000
    time_ms = NOW_MS - events[at][0] * HOUR_MS
    last = (time_ms - shared.grace_s * 1000) // length_ms - 1
    found = np.zeros((shared.buckets, len(shared.quantities)))
    for before in range(len(events)):
        hours, account, terminal, amount, fraud = events[before]
        mine = events[at][2] if shared.field == "terminal" else events[at][1]
        if (terminal if shared.field == "terminal" else account) != mine:
            continue
        for column, quantity in enumerate(shared.quantities):
            of_label = quantity.source is Source.LABEL
            when = NOW_MS - hours * HOUR_MS + (delay_ms if of_label else 0)
            age = last - when // length_ms
            limit, size = quantity.amount_at_most, np.log1p(amount)
            if (
                not 0 <= age < shared.buckets
                or (limit is not None and amount > limit)
                or (of_label and np.isnan(fraud))
                or (quantity.feature_above is not None and size <= quantity.feature_above)
                or (quantity.feature_at_most is not None and size > quantity.feature_at_most)
            ):
                continue
            grown = {Measure.COUNT: 1.0, Measure.AMOUNT: amount, Measure.POSITIVE: fraud}
            grown[Measure.NEGATIVE] = 1.0 - fraud
            found[age, column] += grown[quantity.measure]
    return found


@given(events=EVENTS, cuts=st.lists(st.integers(0, 30), max_size=3))
def test_a_score_knows_the_closed_buckets_of_its_entities_and_nothing_else(
    scorer: Scorer, events: list[Event], cuts: list[int]
) -> None:
    plain = log_odds(_without_shared(scorer), events)
    found = log_odds(scorer, events, cuts=cuts)
    known = [
        sum(float((sums(each, events, at, DELAY_MS) * weights(each)).sum()) for each in EVERY)
        for at in range(len(events))
    ]
    assert_allclose(found, plain + known, atol=1e-4)


@given(events=EVENTS)
def test_a_label_known_a_day_later_changes_no_score_before(
    scorer: Scorer, events: list[Event]
) -> None:
    times = np.array([NOW_MS - each[0] * HOUR_MS for each in events])
    first_known = times.min() + DELAY_MS
    found = log_odds(scorer, events)
    later = log_odds(scorer, events, DELAY_MS + DAY_MS)
    never = log_odds(scorer, [(*each[:4], np.nan) for each in events])
    assert_array_equal(found[times < first_known], later[times < first_known])
    assert_array_equal(found[times < first_known], never[times < first_known])


@given(events=EVENTS, which=st.integers(0, 29), to=st.integers(0, 24 * 12))
def test_an_event_that_moves_changes_no_score_before_it(
    scorer: Scorer, events: list[Event], which: int, to: int
) -> None:
    at = which % len(events)
    moved = sorted(
        [*events[:at], (to, *events[at][1:]), *events[at + 1 :]], key=lambda each: -each[0]
    )
    earliest = max(to, events[at][0])
    before = [each for each in events if each[0] > earliest]
    n = len(before)
    assert_array_equal(log_odds(scorer, events)[:n], log_odds(scorer, moved)[:n])


def test_a_repeated_event_is_counted_once(scorer: Scorer) -> None:
    events: list[Event] = [(60, "a", "p", 10.0, 1.0)] * 2 + [(0, "b", "p", 10.0, np.nan)]
    offline = OfflineScorer(Decoder(SCHEMA), scorer, DELAY_MS)
    values = encoded(events, ["t0", "t0", "t1"])
    batch = offline.score(values, NOW_MS, labels_of(events))
    assert batch.scored.duplicate.tolist() == [False, True, False]
    read = offline.knowledge.read(batch.columns.take(np.array([2])))
    assert read[TERMINAL.input].sum(axis=(0, 1)).tolist() == [1.0, 10.0, 0.0, 0.0]
    later = replace(
        batch.columns.take(np.array([2])), event_time_ms=np.array([NOW_MS + 2 * DAY_MS])
    )
    assert offline.knowledge.read(later)[TERMINAL.input].sum(axis=(0, 1))[2:].tolist() == [1, 1]


def test_an_event_without_its_entity_neither_adds_nor_reads() -> None:
    fields = tuple(
        Field("terminal", "terminal_id", FieldType.IDENTIFIER, Role.ENTITY, False, "none")
        if each.name == "terminal"
        else each
        for each in SCHEMA.fields
    )
    schema = Schema(fields)
    events = [
        orjson.dumps(payment(transaction_id=f"t{at}", terminal_id=terminal, time=time))
        for at, (terminal, time) in enumerate(
            [
                (..., "2026-01-27T10:00:00Z"),
                (None, "2026-01-27T11:00:00Z"),
                ("p", "2026-01-27T12:00:00Z"),
                (..., "2026-01-29T10:00:00Z"),
                ("p", "2026-01-29T11:00:00Z"),
            ]
        )
    ]
    columns = Decoder(schema).decode(events, NOW_MS).columns
    assert len(columns) == 5
    knowledge = Knowledge(schema, [TERMINAL])
    for segment in knowledge.segments(columns.event_time_ms):
        part = columns.take(np.arange(segment.start, segment.stop))
        read = knowledge.read(part)[TERMINAL.input]
        knowledge.add_events(part, np.ones(len(part), dtype=np.bool_))
    assert read[:, :, 0].sum(axis=1).tolist() == [0, 1]


def test_there_is_room_for_any_number_of_entities() -> None:
    table = RingTable(TERMINAL)
    entities = np.arange(5_000) * 7 - 10_000
    for start in (0, 1_000, 1_500):
        some = entities[start:]
        ones = np.ones((len(some), 4), dtype=np.float32)
        table.add(Additions(some, np.full(len(some), 20_000), ones))
    day_after = np.full(5_000, 20_001 * DAY_MS + 2 * HOUR_MS)
    counts = table.read(entities, day_after)[:, 0, 0]
    assert counts[:1_000].tolist() == [1] * 1_000
    assert counts[1_000:1_500].tolist() == [2] * 500
    assert counts[1_500:].tolist() == [3] * 3_500
    strangers = np.arange(20_000) + 1_000_000
    assert not table.read(strangers, np.full(20_000, day_after[0])).any()


def test_features_are_given_where_they_are_asked_for(scorer: Scorer) -> None:
    events: list[Event] = [(at, "a", "p", 20.0, 0.0) for at in range(60, 0, -1)]
    offline = OfflineScorer(Decoder(SCHEMA), scorer, DELAY_MS, with_features=True)
    scored = offline.score(encoded(events), NOW_MS, labels_of(events)).scored
    assert scored.features is not None
    assert scored.features.shape == (60, 2)
    odds = np.log(scored.scores / (1 - scored.scores))
    assert_allclose(scored.features.sum(axis=1) - 4, odds, atol=1e-4)


def test_features_that_a_bundle_does_not_say_are_refused(tmp_path: Path) -> None:
    bundle = Bundle.load(shared_bundle(tmp_path / "b", features=()))
    offline = OfflineScorer(
        Decoder(SCHEMA), Scorer(bundle, Device.CPU), DELAY_MS, with_features=True
    )
    with pytest.raises(BundleError, match="must say its features"):
        offline.score(encoded([(0, "a", "p", 1.0, 0.0)]), NOW_MS)


@pytest.mark.parametrize(
    ("shared", "message"),
    [
        ((replace(TERMINAL, field="device"),), "must be one of .*, however: terminal has 'device'"),
        ((replace(TERMINAL, field="amount"),), "must be one of .*, however: terminal has 'amount'"),
        ((TERMINAL, TERMINAL), "each shared entity must have a name of its own"),
        ((replace(TERMINAL, buckets=6), *EVERY[1:]), "shared_terminal must have the shape"),
    ],
)
def test_entities_that_do_not_fit_are_refused(
    shared: tuple[SharedEntity, ...], message: str, tmp_path: Path
) -> None:
    bundle = Bundle.load(shared_bundle(tmp_path / "b", shared=shared))
    with pytest.raises(BundleError, match=message):
        Scorer(bundle, Device.CPU)


def test_amounts_need_an_amount() -> None:
    schema = Schema(tuple(each for each in SCHEMA.fields if each.name != "amount"))
    with pytest.raises(BundleError, match="must have a schema with an amount"):
        Knowledge(schema, [TERMINAL])


def test_segments_hold_each_event_once_and_are_cut_where_a_bucket_closes() -> None:
    day = 20_000 * DAY_MS
    times = np.array([0, 1, 5, 7, 24, 25, 26]) * HOUR_MS + day
    knowledge = Knowledge(SCHEMA, [TERMINAL])
    assert list(knowledge.segments(times)) == [slice(0, 1), slice(1, 5), slice(5, 7)]
    assert list(knowledge.segments(times[:0])) == [slice(0, 0)]


class _Blind(Scorer):
    """Scores as if nothing were known of any shared entity."""

    def score(
        self,
        columns: Columns,
        states: NDArray[Any],
        account_index: NDArray[np.int64],
        shared: Any = None,
        with_features: bool = False,
    ) -> Any:
        nothing = {name: np.zeros_like(found) for name, found in (shared or {}).items()}
        return super().score(columns, states, account_index, nothing, with_features)


def _without_shared(scorer: Scorer) -> Scorer:
    return _Blind(scorer.bundle, Device.CPU)
