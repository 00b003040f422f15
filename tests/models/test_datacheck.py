"""What a check of a file finds: each planted fault, and nothing where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest

from engine.errors import HistoryError
from engine.history import History
from engine.schema import Schema
from models.config import TrainConfig, load_train_config
from models.datacheck import Finding, Report, Severity, check
from models.datacheck.columns import area_under_curve
from models.datacheck.drift import stability_index
from models.draft import draft_pack
from models.packs.registry import load_schema
from tests.html import ReadPage
from tests.wallets import START, Row, transfers, write

NOW_MS = round((START + timedelta(days=100)).timestamp() * 1000)
ROWS = transfers(6_000, rate=0.15)

Change = Callable[[list[Row]], list[Row]]


@dataclass(frozen=True)
class Pack:
    schema: Schema
    config: TrainConfig


def pack_of(folder: Path, rows: list[Row]) -> Pack:
    for name, text in draft_pack(write(folder / "pack.csv", rows), "mine", {}).files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return Pack(load_schema(folder), load_train_config(folder))


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return pack_of(tmp_path_factory.mktemp("pack"), ROWS)


def checked(path: Path, pack: Pack, until: str | None = None) -> Report:
    until_ms = None if until is None else round(np.datetime64(until, "ms").astype(int))
    return check(path, History.open(path, pack.schema), pack.config, NOW_MS, until_ms)


def found(report: Report, name: str) -> Finding:
    """The finding of a check that matters most."""
    return max((each for each in report.findings if each.check == name), key=severity)


def severity(finding: Finding) -> int:
    return finding.severity.rank


def test_a_clean_file_has_no_findings(pack: Pack, tmp_path: Path) -> None:
    report = checked(write(tmp_path / "a.csv", ROWS), pack, until="2026-03-01")
    assert [each for each in report.findings if each.severity is not Severity.OK] == []
    assert (report.rows, report.events, report.worst) == (6_000, 6_000, Severity.OK)


def is_fraud(row: Row) -> bool:
    return bool(row["status"] == "fraud")


def day(row: Row) -> int:
    return (np.datetime64(row["created_at"][:10]) - np.datetime64("2026-01-01")).astype(int)


def each(change: Callable[[int, Row], Row]) -> Change:
    """A change of the values of each row, which is given with its place."""
    return lambda rows: [row | change(at, row) for at, row in enumerate(rows)]


def only(keep: Callable[[int, Row], bool]) -> Change:
    return lambda rows: [row for at, row in enumerate(rows) if keep(at, row)]


FAULTS: dict[str, tuple[Change, str, Severity, str]] = {
    "some without amount": (
        each(lambda at, _: {"value": None} if at % 500 == 7 else {}),
        *(
            "rejected",
            Severity.WARNING,
            "12 rows (0.20 %) are refused as missing_field; first,",
        ),
    ),
    "many without account": (
        each(lambda at, _: {"wallet": None} if at % 50 == 7 else {}),
        *(
            "rejected",
            Severity.PROBLEM,
            "120 rows (2.00 %) are refused as missing_field; first,",
        ),
    ),
    "negative amounts": (
        each(lambda at, _: {"value": -1.0} if at == 41 else {}),
        *("rejected", Severity.WARNING, "below_minimum; first, row 42: value must be at least 0"),
    ),
    "ids twice": (
        each(lambda at, row: {"transfer_id": ROWS[at - at % 2]["transfer_id"]}),
        *(
            "duplicate_ids",
            Severity.PROBLEM,
            "3,000 events (50.0 %) have an id that was there",
        ),
    ),
    "loaded twice": (
        lambda rows: sorted(
            [*rows, *(row | {"transfer_id": f"b{at}"} for at, row in enumerate(rows[:20]))],
            key=lambda row: row["created_at"],
        ),
        *("identical_rows", Severity.WARNING, "20 rows (0.33 %) equal an earlier one"),
    ),
    "out of order": (
        lambda rows: [*rows[1_000:], *rows[:1_000]],
        *(
            "order",
            Severity.WARNING,
            "1,000 rows (16.7 %) stand after a later one, up to 75.0",
        ),
    ),
    "in the future": (
        each(lambda at, _: {"created_at": "2099-01-01T00:00:00Z"} if at == 99 else {}),
        *("future", Severity.PROBLEM, "1 rows lie in the future; first, row 100"),
    ),
    "days missing": (
        only(lambda _, row: not 30 <= day(row) < 33),
        *("gaps", Severity.WARNING, "the longest gap is 2026-01-31 to 2026-02-02"),
    ),
    "no label column": (
        lambda rows: [{key: row[key] for key in row if key != "status"} for row in rows],
        *("labels", Severity.PROBLEM, "the file has no labels: 'status' is missing"),
    ),
    "hardly any label": (
        each(lambda at, _: {"status": None} if at % 25 else {}),
        *("labels_known", Severity.WARNING, "of the events have a label"),
    ),
    "few frauds": (
        each(lambda at, row: {"status": "genuine"} if is_fraud(row) and at % 10 else {}),
        *("label_rate", Severity.WARNING, "frauds"),
    ),
    "mostly frauds": (
        each(lambda at, row: {"status": "fraud"} if row["status"] and at % 2 else {}),
        *("label_rate", Severity.WARNING, "labelled events are frauds (5"),
    ),
    "labels that come late": (
        each(lambda _, row: {"status": "genuine"} if is_fraud(row) and day(row) >= 56 else {}),
        *("late_labels", Severity.PROBLEM, "from 2026-02-26 on frauds are far rarer than before"),
    ),
    "a wave": (
        each(lambda at, row: {"status": "fraud"} if at % 2 and 28 <= day(row) < 35 else {}),
        *("rate_over_time", Severity.WARNING, "most in that of 2026-01-29"),
    ),
    "a validation without frauds": (
        each(lambda _, row: {"status": "genuine"} if is_fraud(row) and day(row) >= 60 else {}),
        *("periods", Severity.PROBLEM, "the validation period, 2026-03-"),
    ),
    "a constant of the schema": (
        each(lambda *_: {"fee": 1.5}),
        *("constant", Severity.WARNING, "fee (feature) has the same value in all rows"),
    ),
    "one account": (
        each(lambda *_: {"wallet": "w1"}),
        *("constant", Severity.PROBLEM, "wallet (account) has the same value in all rows"),
    ),
    "a constant beside the schema": (
        each(lambda *_: {"currency": "EUR"}),
        *("constant", Severity.WARNING, "currency has the same value in all rows"),
    ),
    "a leaking number": (
        each(lambda at, row: {"fee": 90.0 + at % 9 if is_fraud(row) else at % 9}),
        *("leaks", Severity.PROBLEM, "fee (feature) alone tells the label almost perfectly (AUC 1"),
    ),
    "a leaking category": (
        each(lambda at, row: {"desk": "abc"[at % 3] if is_fraud(row) else "xyz"[at % 3]}),
        *("leaks", Severity.WARNING, "desk alone tells the label almost perfectly"),
    ),
    "a column that frauds alone have": (
        each(lambda at, row: {"case": f"c{at}" if is_fraud(row) else None}),
        *("leaks", Severity.WARNING, "case alone tells the label almost perfectly"),
    ),
    "a value that frauds alone have": (
        each(lambda at, row: {"state": "blocked" if is_fraud(row) and at % 3 == 0 else "open"}),
        *("leaks", Severity.WARNING, "of the frauds have 'blocked' in state"),
    ),
    "drift": (
        each(lambda _, row: {"fee": row["fee"] * 3 + 1} if day(row) >= 60 else {}),
        *("drift", Severity.WARNING, "fee is far different in the test period (PSI "),
    ),
    "drift of a category": (
        each(lambda _, row: {"channel": "branch"} if day(row) >= 60 else {}),
        *("drift", Severity.WARNING, "channel is far different in the test period (PSI "),
    ),
    "a hot account": (
        each(lambda at, _: {"wallet": "unknown"} if at % 3 == 0 else {}),
        *("hot_account", Severity.PROBLEM, "account (wallet) 'unknown' has 33.3 % of all events"),
    ),
    "a hot entity": (
        each(lambda at, _: {"receiver": "0"} if at % 5 == 0 else {}),
        *("hot_entity", Severity.PROBLEM, "receiver (receiver) '0' has 20.0 % of all events"),
    ),
    "an account an event": (
        each(lambda at, _: {"wallet": f"w{at}"}),
        *("short_histories", Severity.WARNING, "account (wallet) has 1.0 events on average"),
    ),
    "identifiers that change": (
        each(lambda _, row: {"wallet": f"new-{row['wallet']}"} if day(row) >= 59 else {}),
        *("new_accounts", Severity.WARNING, "100 % of the test period's events have a new accou"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, pack: Pack, tmp_path: Path) -> None:
    change, name, expected, text = FAULTS[fault]
    until = None if name in ("late_labels", "periods") else "2026-03-01"
    report = checked(write(tmp_path / "a.csv", change(ROWS)), pack, until)
    told = found(report, name)
    assert text in told.found
    assert told.severity is expected
    assert told.advice
    assert report.worst.rank >= expected.rank


def test_seconds_that_are_read_as_milliseconds_are_found(tmp_path: Path) -> None:
    rows = [row | {"created_at": 1_767_225_600 + 900 * at} for at, row in enumerate(ROWS)]
    pack = pack_of(tmp_path, rows)
    text = (tmp_path / "schema.toml").read_text().replace("epoch_s", "epoch_ms")
    (tmp_path / "schema.toml").write_text(text)
    wrong = Pack(load_schema(tmp_path), pack.config)
    told = found(checked(tmp_path / "pack.csv", wrong), "time_unit")
    assert told.severity is Severity.PROBLEM
    assert "epoch_s" in told.advice
    assert found(checked(tmp_path / "pack.csv", pack), "time_unit").severity is Severity.OK


def test_an_optional_column_that_is_mostly_missing_is_found(tmp_path: Path) -> None:
    rows = each(lambda at, _: {"fee": None} if at % 3 else {})(ROWS)
    told = found(checked(tmp_path / "pack.csv", pack_of(tmp_path, rows)), "missing")
    assert told.severity is Severity.WARNING
    assert "fee (feature) is missing in 66.7 % of the rows" in told.found


def test_all_kinds_of_files_are_checked_alike(pack: Pack, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = FAULTS["a leaking category"][0](ROWS)
    lines = tmp_path / "a.jsonl"
    lines.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    write(tmp_path / "a.csv", rows)
    told = [checked(tmp_path / name, pack).findings for name in ("a.jsonl", "a.parquet", "a.csv")]
    assert told[0] == told[1] == told[2]


def test_the_test_period_must_have_events(pack: Pack, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ROWS)
    for until in ("2025-01-01", "2027-01-01"):
        with pytest.raises(HistoryError, match=r"period must have events, however: a\.csv"):
            checked(path, pack, until)


def test_a_page_tells_the_findings(pack: Pack, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from models.datacheck.page import page

    report = checked(write(tmp_path / "a.csv", FAULTS["a leaking number"][0](ROWS)), pack)
    read = ReadPage(page(report).html())
    assert read.faults == []
    assert read.headings[0] == "Findings"
    assert {part.title for part in report.parts} < set(read.headings)
    assert "fee (feature) alone tells the label almost perfectly" in read.text
    assert read.tags["svg"] == 1


def test_the_area_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=500), rng.integers(0, 5, 500).astype(float)):
        fraud = rng.random(500) < 0.3
        assert area_under_curve(values, fraud) == pytest.approx(
            metrics.roc_auc_score(fraud, values)
        )


def test_the_stability_index_is_the_formula() -> None:
    expected, seen = np.repeat([0, 1], [60, 40]), np.repeat([0, 1], [30, 70])
    value = (0.3 - 0.6) * np.log(0.3 / 0.6) + (0.7 - 0.4) * np.log(0.7 / 0.4)
    assert stability_index(expected, seen) == pytest.approx(value)
    assert stability_index(expected, expected) == 0
