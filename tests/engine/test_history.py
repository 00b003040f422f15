from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from engine.columns import Columns, Reason
from engine.decode import Decoder
from engine.errors import HistoryError
from engine.hashing import hash_strings
from engine.history import History
from engine.schema import Field, FieldType, Role, Schema, TimeFormat
from tests.bundles import SCHEMA
from tests.engine.tools import NOW_MS, payment

NESTED = SCHEMA.with_paths({"account": "card.id", "amount": "tx.amount"})
EPOCH_S, EPOCH_MS = (
    Schema(
        tuple(
            Field("event_time", "time", FieldType.TIMESTAMP, Role.EVENT_TIME, format=each)
            if field.role is Role.EVENT_TIME
            else field
            for field in SCHEMA.fields
        )
    )
    for each in (TimeFormat.EPOCH_S, TimeFormat.EPOCH_MS)
)


def at(second: float, **changes: Any) -> dict[str, Any]:
    """A payment some seconds after noon, named after them."""
    time = f"2026-01-31T12:00:{second:06.3f}Z"
    return payment(transaction_id=f"t{second:g}", time=time) | changes


def write(path: Path, events: list[dict[str, Any]]) -> Path:
    """Write events in the format that the file's name says."""
    name = path.name.removesuffix(".gz")
    if name.endswith("csv"):
        events = [dict(_flat(event)) for event in events]
    content: bytes
    if name.endswith("jsonl"):
        content = b"".join(orjson.dumps(event) + b"\n" for event in events)
    else:
        table = pa.Table.from_pylist(events)
        sink = pa.BufferOutputStream()
        if name.endswith("csv"):
            pa.csv.write_csv(table, sink)
        else:
            pa.parquet.write_table(table, sink)
        content = sink.getvalue().to_pybytes()
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def _flat(event: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in event.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", each) for inner, each in _flat(value))
        else:
            yield key, value


def columns_of(history: History) -> Columns:
    decoded = history.decode(Decoder(history.schema), NOW_MS + 86_400_000)
    assert decoded.rejects == []
    return decoded.columns


@pytest.fixture(
    params=["parquet", "csv", "csv.gz", "jsonl", "jsonl.gz"],
    ids=lambda each: each.replace(".", "-"),
)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., History]:
    """Events as a history, from a file of each format in turn."""

    def make(events: list[dict[str, Any]], schema: Schema = SCHEMA, **span: int) -> History:
        return History.open(write(tmp_path / f"events.{request.param}", events), schema, **span)

    return make


def test_events_come_in_the_order_of_time_and_else_of_the_file(
    written: Callable[..., History],
) -> None:
    seconds = np.random.default_rng(0).integers(0, 5, 300).tolist()
    history = written([at(second, transaction_id=str(n)) for n, second in enumerate(seconds)])
    ordered = sorted(range(300), key=seconds.__getitem__)
    assert columns_of(history).event_ids == [str(n) for n in ordered]
    assert (history.event_time_ms - NOW_MS).tolist() == [1000 * seconds[n] for n in ordered]


def test_every_format_decodes_to_the_same_columns(written: Callable[..., History]) -> None:
    events = [
        at(1, card_id="007", amount=0.1, fraud=0.0),
        at(2.125, card_id="NA", terminal_id="1e5", amount=1e6, fraud=1.0),
        at(3, card_id='a "quoted", ü', amount=3.0, fraud=0.0, note="not in the schema"),
    ]
    history = written(events)
    columns = columns_of(history)
    wanted = Decoder(SCHEMA).decode([orjson.dumps(event) for event in events], NOW_MS).columns
    assert (columns.event_ids, columns.accounts) == (wanted.event_ids, wanted.accounts)
    for name, column in wanted.values.items():
        np.testing.assert_array_equal(columns.values[name], column)
    assert history.event_time_ms.tolist() == wanted.event_time_ms.tolist()
    assert history.labels is not None
    assert history.labels.tolist() == [0, 1, 0]


def test_nested_fields_are_found_by_their_path(written: Callable[..., History]) -> None:
    history = written([at(1, card={"id": "c7"}, tx={"amount": 4.0})], NESTED)
    columns = columns_of(history)
    assert (columns.accounts, columns.values["amount"].tolist()) == (["c7"], [4.0])
    (chunk,) = history.chunks()
    assert orjson.loads(chunk.values[0])["card"] == {"id": "c7"}
    assert chunk.keys == [b"c7"]


def test_a_span_holds_its_start_and_not_its_end(written: Callable[..., History]) -> None:
    events = [at(second, fraud=float(second % 2)) for second in (4, 1, 3, 2)]
    history = written(events, start_ms=NOW_MS + 2000, end_ms=NOW_MS + 4000)
    assert columns_of(history).event_ids == ["t2", "t3"]
    assert history.labels is not None
    assert history.labels.tolist() == [0, 1]
    assert len(written(events, start_ms=NOW_MS + 5000)) == 0


def test_labels_may_be_unknown_or_absent(written: Callable[..., History]) -> None:
    history = written([at(2, fraud=1.0), at(1, fraud=None), at(3, fraud=0.0)])
    assert history.labels is not None
    np.testing.assert_array_equal(history.labels, np.array([np.nan, 1, 0], np.float32))
    assert history.labels.dtype == np.float32
    assert written([at(1)]).labels is None


def test_rows_count_from_the_start_beyond_the_first_chunk(written: Callable[..., History]) -> None:
    events = [at(1, transaction_id=str(n)) for n in range(8_200)]
    events[8_195]["amount"] = -1.0
    history = written(events)
    decoded = history.decode(Decoder(SCHEMA), NOW_MS + 60_000)
    assert [each.row for each in decoded.rejects] == [8_195]
    assert decoded.columns.rows.tolist() == [n for n in range(8_200) if n != 8_195]


def test_a_history_of_no_events_is_empty(written: Callable[..., History]) -> None:
    history = written([at(1)], end_ms=NOW_MS)
    assert len(history) == len(columns_of(history)) == 0
    assert sum(map(len, history.chunks())) == 0


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_chunks_together_hold_every_event(written: Callable[..., History], size: int) -> None:
    history = written([at(second, card_id=f"c{second}") for second in (3, 1, 2, 5, 4)])
    chunks = list(history.chunks(size))
    assert [len(chunk) <= size for chunk in chunks] == [True] * len(chunks)
    assert [orjson.loads(v)["card_id"] for c in chunks for v in c.values] == [
        f"c{second}" for second in (1, 2, 3, 4, 5)
    ]
    assert [key for chunk in chunks for key in chunk.keys] == [b"c1", b"c2", b"c3", b"c4", b"c5"]
    assert [t for c in chunks for t in c.event_time_ms] == history.event_time_ms.tolist()
    part = history.slice(1, 3)
    assert columns_of(part).accounts == ["c2", "c3"]
    assert part.event_time_ms.tolist() == history.event_time_ms[1:3].tolist()


@pytest.mark.parametrize("size", [1, 2, 100])
def test_each_chunk_has_its_events_ids_and_labels(
    written: Callable[..., History], size: int
) -> None:
    found = {3: 1.0, 1: None, 2: 0.0, 5: 1.0, 4: 0.0}
    history = written([at(second, fraud=label) for second, label in found.items()])
    chunks = list(history.chunks(size))
    assert [each for c in chunks for each in c.event_ids] == ["t1", "t2", "t3", "t4", "t5"]
    labels = np.concatenate([c.labels for c in chunks if c.labels is not None])
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, np.array([np.nan, 0, 1, 0, 1], np.float32))
    assert [len(c.values) for c in chunks] == [len(c.event_ids) for c in chunks]
    (part,) = history.slice(1, 3).chunks()
    assert part.event_ids == ["t2", "t3"]
    np.testing.assert_array_equal(part.labels, np.array([0, 1], np.float32))


def test_a_chunk_of_a_history_without_labels_has_none(written: Callable[..., History]) -> None:
    (chunk,) = written([at(2), at(1)]).chunks()
    assert chunk.labels is None
    assert chunk.event_ids == ["t1", "t2"]


def test_ids_and_labels_stand_where_their_paths_say(written: Callable[..., History]) -> None:
    schema = SCHEMA.with_paths({"event_id": "tx.id", "fraud": "outcome.fraud"})
    events = [at(n, tx={"id": f"n{n}"}, outcome={"fraud": float(n % 2)}) for n in (2, 1)]
    (chunk,) = written(events, schema).chunks()
    assert chunk.event_ids == ["n1", "n2"]
    np.testing.assert_array_equal(chunk.labels, np.array([1, 0], np.float32))
    assert "fraud" not in str([orjson.loads(value).get("outcome") for value in chunk.values])


def test_ids_are_those_that_the_decoder_reads(written: Callable[..., History]) -> None:
    ids = ["007", "1e5", "ü", 'a "quoted", id', "12345678901234567890"]
    history = written([at(n, transaction_id=each) for n, each in enumerate(ids)])
    (chunk,) = history.chunks()
    assert chunk.event_ids == columns_of(history).event_ids == ids


def test_a_time_that_cannot_be_read_stands_beside_its_predecessor(
    written: Callable[..., History],
) -> None:
    events = [at(9), at(2), payment(transaction_id="odd", time="soon"), at(1)]
    history = written(events)
    decoded = history.decode(Decoder(SCHEMA), NOW_MS + 60_000)
    assert decoded.columns.event_ids == ["t1", "t2", "t9"]
    assert [(each.row, each.reason) for each in decoded.rejects] == [(2, Reason.NOT_A_TIME)]
    assert history.event_time_ms.tolist() == [NOW_MS + 1000] + [NOW_MS + 2000] * 2 + [NOW_MS + 9000]


def test_a_time_that_cannot_be_read_and_has_no_predecessor_is_first(
    written: Callable[..., History],
) -> None:
    history = written([payment(time="soon"), at(2), at(1)])
    assert history.event_time_ms.tolist() == [0, NOW_MS + 1000, NOW_MS + 2000]


@pytest.mark.parametrize(("schema", "unit"), [(EPOCH_S, 1.0), (EPOCH_MS, 1000.0)])
def test_epochs_are_times(written: Callable[..., History], schema: Schema, unit: float) -> None:
    seconds = NOW_MS / 1000
    times = [(seconds + 2.5) * unit, seconds * unit, 1e300, (seconds + 1) * unit]
    history = written(
        [payment(transaction_id=f"t{n}", time=t) for n, t in enumerate(times)], schema
    )
    decoded = history.decode(Decoder(schema), NOW_MS + 60_000)
    assert decoded.columns.event_ids == ["t1", "t3", "t0"]
    assert (decoded.columns.event_time_ms - NOW_MS).tolist() == [0, 1000, 2500]
    assert [(each.row, each.reason) for each in decoded.rejects] == [(1, Reason.NOT_A_TIME)]


def test_offsets_are_kept_and_a_time_without_one_is_utc(written: Callable[..., History]) -> None:
    times = ["2026-01-31T14:00:03+02:00", "2026-01-31T12:00:02", "2026-01-31 12:00:01z"]
    history = written([payment(transaction_id=f"t{n}", time=t) for n, t in enumerate(times)])
    assert columns_of(history).event_ids == ["t2", "t1", "t0"]
    assert (history.event_time_ms - NOW_MS).tolist() == [1000, 2000, 3000]


def test_an_optional_field_without_a_column_has_its_default(
    written: Callable[..., History],
) -> None:
    more = Field("country", "country", FieldType.CATEGORY, required=False, default="none")
    schema = Schema((*SCHEMA.fields, more))
    without = columns_of(written([at(1)], schema))
    given = columns_of(written([at(1, country="none")], schema))
    assert without.values["country"].tolist() == given.values["country"].tolist()


def parquet(folder: Path, schema: Schema = SCHEMA, **columns: pa.Array) -> History:
    """A history of one parquet file: a good payment a row, with some columns replaced."""
    n = max(map(len, columns.values()))
    table = {name: [value] * n for name, value in payment().items()} | columns
    pa.parquet.write_table(pa.table(table), folder / "events.parquet")
    return History.open(folder / "events.parquet", schema)


def test_nan_among_identifiers_and_categories_is_a_missing_value(tmp_path: Path) -> None:
    country = Field("country", "country", FieldType.CATEGORY, required=False)
    history = parquet(
        tmp_path,
        Schema((*SCHEMA.fields, country)),
        card_id=pa.array([7.0, 8.0, float("nan")]),
        country=pa.array([4.5, float("nan"), None]),
    )
    decoded = history.decode(Decoder(history.schema), NOW_MS)
    assert decoded.columns.accounts == ["7", "8"]
    assert decoded.columns.values["country"].tolist() == hash_strings(["4.5", ""]).tolist()
    assert [each.reason for each in decoded.rejects] == [Reason.MISSING_FIELD]


def test_integers_beyond_a_floats_precision_are_numbers(tmp_path: Path) -> None:
    amounts = [2**53 + 1, 2**62]
    columns = columns_of(parquet(tmp_path, amount=pa.array(amounts)))
    assert columns.values["amount"].tolist() == [np.float32(each) for each in amounts]


@pytest.mark.parametrize("name", ["A.CSV.GZ", "a.csv.GZ", "A.JSONL.GZ", "A.CSV", "A.PARQUET"])
def test_a_files_ending_may_be_in_capitals(tmp_path: Path, name: str) -> None:
    written = write(tmp_path / name.lower(), [at(1)])
    assert columns_of(History.open(written.rename(tmp_path / name), SCHEMA)).accounts == ["c1"]


def test_a_column_that_is_there_twice_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [payment(note="x")])
    text = path.read_text()
    path.write_text(text.replace("note", "amount"))
    with pytest.raises(HistoryError, match=r"name of its own, however: a.csv has several for 'amo"):
        History.open(path, SCHEMA)
    path.write_text(text.replace("note", "other").replace("\n", ',"other"\n'))
    assert columns_of(History.open(path, SCHEMA)).accounts == ["c1"]
