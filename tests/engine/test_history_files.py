"""What is peculiar to one kind of file, and what is wrong with files."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet
import pytest

from engine.columns import Reason
from engine.decode import Decoder
from engine.errors import HistoryError
from engine.hashing import hash_strings
from engine.history import History
from engine.schema import Field, FieldType, Schema
from tests.bundles import SCHEMA
from tests.engine.test_history import EPOCH_MS, EPOCH_S, columns_of
from tests.engine.tools import NOW_MS, payment

HEADER = "transaction_id,time,card_id,terminal_id,amount"
TIME = "2026-01-31T12:00:00Z"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
COUNTRY = Schema((*SCHEMA.fields, Field("country", "country", FieldType.CATEGORY, required=False)))


def parquet(folder: Path, schema: Schema = SCHEMA, **columns: Any) -> History:
    """A history of one parquet file: a good payment a row, with some columns replaced."""
    n = max([1, *map(len, columns.values())])
    table = {name: [value] * n for name, value in payment().items()} | columns
    pa.parquet.write_table(pa.table(table), folder / "events.parquet")
    return History.open(folder / "events.parquet", schema)


def file(folder: Path, name: str, content: str | bytes) -> Path:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


def test_identifiers_in_csv_keep_their_text(tmp_path: Path) -> None:
    accounts = ["007", "1e5", "12345678901234567890", "true", "1.0", "2026-01-31", "NA", " x"]
    rows = [f"t{n},{TIME},{account},01,5" for n, account in enumerate(accounts)]
    columns = columns_of(History.open(file(tmp_path, "a.csv", "\n".join([HEADER, *rows])), SCHEMA))
    assert columns.accounts == accounts
    assert columns.values["terminal"].tolist() == hash_strings(["01"] * len(rows)).tolist()


def test_what_is_empty_in_csv_is_missing(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", f"{HEADER}\nt1,{TIME},,1,5\nt2,{TIME},c1,1,\nt3,{TIME},c1,1,5\n")
    decoded = History.open(path, SCHEMA).decode(Decoder(SCHEMA), NOW_MS)
    assert decoded.columns.event_ids == ["t3"]
    assert [each.reason for each in decoded.rejects] == [Reason.MISSING_FIELD] * 2
    (chunk,) = History.open(path, SCHEMA).chunks()
    assert chunk.keys == [None, b"c1", b"c1"]


def test_namibia_is_a_country(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", f"{HEADER},country\nt1,{TIME},c1,1,5,NA\n")
    columns = columns_of(History.open(path, COUNTRY))
    assert columns.values["country"].tolist() == hash_strings(["NA"]).tolist()


#: Of no time, so that all who collect these tests give them the same names.
ZIPPED = gzip.compress(b"{}" * 99, mtime=0)


@pytest.mark.parametrize(
    ("accounts", "texts"),
    [
        (pa.array([7, 8]), ["7", "8"]),
        (pa.array([7.0, 1e15]), ["7", "1000000000000000"]),
        (pa.array(["07", "x"]).dictionary_encode(), ["07", "x"]),
        (pa.array(["07", "x"], pa.large_string()), ["07", "x"]),
        (pa.array([2**63, 1], pa.uint64()), [str(2**63), "1"]),
    ],
    ids=["integers", "floats", "dictionary", "large", "unsigned"],
)
def test_identifiers_in_parquet_become_text(
    tmp_path: Path, accounts: pa.Array, texts: list[str]
) -> None:
    assert columns_of(parquet(tmp_path, card_id=accounts)).accounts == texts


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pa.array([True, False, None]), ["true", "false", ""]),
        (pa.array([4, 5, None]), ["4", "5", ""]),
        (pa.array([4.0, 5.0, None]), ["4", "5", ""]),
        (pa.array([4.5, 5.0, None]), ["4.5", "5.0", ""]),
    ],
    ids=["booleans", "integers", "integers with a gap", "floats"],
)
def test_categories_in_parquet_become_text(
    tmp_path: Path, values: pa.Array, texts: list[str]
) -> None:
    columns = columns_of(parquet(tmp_path, COUNTRY, country=values))
    assert columns.values["country"].tolist() == hash_strings(texts).tolist()


@pytest.mark.parametrize(
    "kind",
    [
        pa.timestamp("s"),
        pa.timestamp("ms"),
        pa.timestamp("us", "UTC"),
        pa.timestamp("ns", "Europe/Vienna"),
    ],
    ids=str,
)
@pytest.mark.parametrize("schema", [SCHEMA, EPOCH_S, EPOCH_MS], ids=["iso", "s", "ms"])
def test_timestamps_in_parquet_are_instants(
    tmp_path: Path, kind: pa.DataType, schema: Schema
) -> None:
    micros = 0 if kind.unit == "s" else 123_000 if kind.unit == "ms" else 123_600
    given = NOON.replace(microsecond=micros)
    times = pa.array([given], pa.timestamp("us", "UTC"))
    times = times.cast(kind) if kind.tz else times.cast(pa.timestamp(kind.unit, "UTC")).cast(kind)
    history = parquet(tmp_path, schema, time=times)
    expected = NOW_MS + round(micros / 1000)
    assert columns_of(history).event_time_ms.tolist() == [expected]
    assert history.event_time_ms.tolist() == [expected]


def test_a_missing_column_is_named_with_what_is_there_and_what_is_near(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", f"{HEADER.replace('card_id', 'card_no')}\n")
    with pytest.raises(
        HistoryError,
        match=r"a.csv must have the column 'card_id', however: it has transaction_id, time, "
        r"card_no, terminal_id, amount; if that is 'card_no', map it with --field account=COLUMN",
    ):
        History.open(path, SCHEMA)


def test_a_missing_nested_column_is_named(tmp_path: Path) -> None:
    schema = SCHEMA.with_paths({"account": "card.id"})
    for card in ({"number": "1"}, "1"):
        with pytest.raises(HistoryError, match=r"must have the column 'card.id', however: .*card"):
            parquet(tmp_path, schema, card=[card])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"amount": ["much"]}, "column amount of events.parquet must be a number.*type string"),
        ({"card_id": [1.5]}, "column card_id of events.parquet must be a identifier.*double"),
        ({"card_id": [["c1"]]}, "column card_id of events.parquet must be a identifier.*list"),
        ({"time": [5]}, "column time of events.parquet must be a timestamp.*int64.*ISO 8601"),
    ],
)
def test_a_column_that_cannot_be_its_field_is_named(
    tmp_path: Path, columns: dict[str, list[Any]], message: str
) -> None:
    with pytest.raises(HistoryError, match=message):
        parquet(tmp_path, **columns)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "must end in one of .parquet, .csv, .jsonl, however: a.txt"),
        ("a.parquet", b"no parquet", "must be readable, however: .*a.parquet"),
        ("a.parquet", b"", "must be readable, however: .*a.parquet"),
        ("a.csv", b"", "must be readable, however: .*a.csv.*Empty CSV"),
        ("a.csv", b"PAR1\x00\xff\xfe", "a.csv"),
        ("a.csv", HEADER.encode() + b"\nt1,2", "must be readable.*a.csv.*Expected 5 columns"),
        ("a.csv", HEADER.encode() + b"\nt1,x,\xff,1,5", "must be readable.*a.csv"),
        ("a.jsonl", b"PAR1\nx", "each line of a JSON lines file must be an object"),
        ("a.jsonl", b"[1]\n[2]", "each line of a JSON lines file must be an object"),
        ("a.jsonl.gz", b"no gzip", "must be readable, however: .*a.jsonl.gz"),
        (
            "a.jsonl.gz",
            gzip.compress(b"{}" * 99, mtime=0)[:-12],
            "must be readable, however: .*a.jsonl.gz",
        ),
        (
            "a.jsonl.gz",
            ZIPPED[:10] + b"\xff" * 40,
            "must be readable, howe",
        ),
        ("a.csv.gz", b"no gzip", "must be readable, however: .*a.csv.gz"),
        ("a.csv.gz", gzip.compress(b"a,b\n" * 99, mtime=0)[:-12], "a.csv.gz"),
    ],
)
def test_a_file_that_is_no_history_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(HistoryError, match=message):
        History.open(file(tmp_path, name, content), SCHEMA)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"must be a file, however: .*none.csv is no such file"):
        History.open(tmp_path / "none.csv", SCHEMA)
    with pytest.raises(HistoryError, match="is a folder"):
        History.open(tmp_path, SCHEMA)


def test_files_of_no_events_are_empty_histories(tmp_path: Path) -> None:
    empty = pa.table({name: pa.array([], pa.string()) for name in HEADER.split(",")})
    pa.parquet.write_table(empty, tmp_path / "a.parquet")
    for path in (
        file(tmp_path, "a.jsonl", b"\n\n"),
        file(tmp_path, "a.csv", HEADER + "\n"),
        tmp_path / "a.parquet",
    ):
        for schema in (SCHEMA, EPOCH_MS):
            history = History.open(path, schema)
            assert len(history) == len(columns_of(history)) == 0


def test_lines_that_are_no_events_are_rejects(tmp_path: Path) -> None:
    lines = [b"[]", orjson.dumps(payment()), b"{", b"", orjson.dumps(payment(time=5))]
    history = History.open(file(tmp_path, "a.ndjson", b"\r\n".join(lines)), SCHEMA)
    decoded = history.decode(Decoder(SCHEMA), NOW_MS)
    assert len(decoded.columns) == 1
    assert sorted(each.reason for each in decoded.rejects) == [
        *(Reason.NOT_JSON, Reason.NOT_OBJECT, Reason.WRONG_TYPE)
    ]


@pytest.mark.parametrize("schema", [SCHEMA, EPOCH_S], ids=["iso", "s"])
@pytest.mark.parametrize("time", ["soon", True, None, [], 1e300, -(2**80)])
def test_no_time_in_a_line_stops_the_history(tmp_path: Path, schema: Schema, time: Any) -> None:
    lines = [b'{"time": %s}' % each.encode() for each in ("5", f"{time}".lower(), f'"{time}"')]
    lines += [b"{}", b'{"time": null}']
    history = History.open(file(tmp_path, "a.jsonl", b"\n".join(lines)), schema)
    assert len(history) == len(lines)


def test_labels_are_numbers_or_booleans(tmp_path: Path) -> None:
    for values in (pa.array([True, None]), pa.array([1, None]), pa.array([1.0, np.nan])):
        labels = parquet(tmp_path, fraud=values).labels
        assert labels is not None
        np.testing.assert_array_equal(labels, np.array([1, np.nan], np.float32))


@pytest.mark.parametrize(
    ("ids", "texts"),
    [
        (pa.array([7, 8]), ["7", "8"]),
        (pa.array([7.0, float("nan")]), ["7", None]),
        (pa.array(["07", None]), ["07", None]),
        (pa.array([2**63, 1], pa.uint64()), [str(2**63), "1"]),
    ],
    ids=["integers", "floats", "texts", "unsigned"],
)
def test_event_ids_in_parquet_are_those_of_the_stream(
    tmp_path: Path, ids: pa.Array, texts: list[str | None]
) -> None:
    history = parquet(tmp_path, transaction_id=ids)
    (chunk,) = history.chunks()
    assert chunk.event_ids == texts
    decoded = history.decode(Decoder(SCHEMA), NOW_MS)
    assert decoded.columns.event_ids == [text for text in texts if text is not None]


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([1, 0, None]),
        pa.array([1.0, 0.0, None]),
        pa.array([True, False, None]),
        pa.array([1, 0, None], pa.int8()),
    ],
    ids=["integers", "floats", "booleans", "bytes"],
)
def test_labels_in_parquet_are_numbers(tmp_path: Path, labels: pa.Array) -> None:
    (chunk,) = parquet(tmp_path, fraud=labels).chunks()
    np.testing.assert_array_equal(chunk.labels, np.array([1, 0, np.nan], np.float32))
    assert not any(b"fraud" in value for value in chunk.values)


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("true", "false")])
def test_labels_in_csv_are_numbers(tmp_path: Path, yes: str, no: str) -> None:
    rows = [f"t{n},{TIME},c1,1,5,{label}" for n, label in enumerate((yes, no, ""))]
    path = file(tmp_path, "a.csv", "\n".join([f"{HEADER},fraud", *rows]))
    (chunk,) = History.open(path, SCHEMA).chunks()
    np.testing.assert_array_equal(chunk.labels, np.array([1, 0, np.nan], np.float32))
    assert chunk.event_ids == ["t0", "t1", "t2"]


def test_json_lines_hold_what_is_no_event_too(tmp_path: Path) -> None:
    good = payment(transaction_id=7, fraud=True)
    lines = [orjson.dumps(good), b"{", b"[]", orjson.dumps(payment(transaction_id=1.5, fraud=""))]
    path = file(tmp_path, "a.jsonl", b"\n".join(lines))
    (chunk,) = History.open(path, SCHEMA).chunks()
    found = dict(zip(chunk.event_ids, chunk.labels.tolist(), strict=True))
    assert chunk.event_ids.count(None) == 3
    assert found["7"] == 1.0
    assert int(np.isnan(chunk.labels).sum()) == 3
    assert not any(b"fraud" in value for value in chunk.values)
