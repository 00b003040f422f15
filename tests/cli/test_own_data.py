"""Data of one's own through the command line: the session of docs/own-data.md, and bad files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.bundle import Bundle
from tests.cli.running import error_line, invoke, riskstream
from tests.html import ReadPage
from tests.wallets import Row, transfers, write

pytest.importorskip("torch")

DOCUMENT = Path(__file__).parents[2] / "docs" / "own-data.md"
ROWS = transfers(3_000, rate=0.08)
TEST_FROM = np.datetime64("2026-03-08")


def session() -> list[list[str]]:
    """The commands of the document's session, without the name of the program."""
    (block,) = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    return [shlex.split(line)[1:] for line in block.splitlines()]


def run(words: list[str], folder: Path) -> None:
    """Run one command of the session; training takes few epochs, and a process of its own."""
    if words[0] != "train":
        done = invoke(*words, cwd=folder)
    else:
        done = riskstream(*words, "--epochs", "2", cwd=folder, timeout_s=240)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the document's session has been run."""
    folder = tmp_path_factory.mktemp("own")
    write(folder / "wallets.csv", ROWS)
    for words in session():
        run(words, folder)
    return folder


def test_the_session_is_of_one_file_from_draft_to_scores() -> None:
    names = [" ".join(words[: 1 + (words[0] == "data")]) for words in session()]
    assert names == ["data draft", "data check", "train", "evaluate", "score"]


def test_the_bundle_has_the_schema_and_the_features_of_the_file(folder: Path) -> None:
    manifest = Bundle.load(folder / "bundles" / "wallets").manifest
    assert manifest.pack == "wallet-pack"
    assert manifest.name == "wallet-pack-gru"
    assert {field.path for field in manifest.schema.fields} == set(ROWS[0]) - {"channel"}
    assert "event_fee" in manifest.features
    assert "receiver_known_7d" in manifest.features


def test_every_row_is_scored_and_frauds_are_found(folder: Path) -> None:
    scores = pq.read_table(folder / "scores.parquet")
    assert scores["account"].to_pylist() == [row["wallet"] for row in ROWS]
    known = [row["status"] for row in ROWS]
    expected = {"fraud": 1.0, "genuine": 0.0, None: np.nan}
    np.testing.assert_array_equal(scores["label"].to_numpy(), [expected[each] for each in known])
    done = invoke(
        *("evaluate", "wallets.csv", "--from", str(TEST_FROM), "--labels-delay", "7d", "--json"),
        *("--bundle", "bundles/wallets"),
        cwd=folder,
    )
    told = orjson.loads(done.stdout)
    assert told["auc_roc"] > 0.8


def test_unlabelled_rows_are_in_no_figure(folder: Path) -> None:
    done = invoke(
        *("evaluate", "wallets.csv", "--from", str(TEST_FROM), "--bundle", "bundles/wallets"),
        "--json",
        cwd=folder,
    )
    told = orjson.loads(done.stdout)
    judged = [row for row in ROWS if np.datetime64(row["created_at"][:19]) >= TEST_FROM]
    labelled = [row for row in judged if row["status"]]
    assert told["events"] <= len(labelled) < len(judged)
    facts = Bundle.load(folder / "bundles" / "wallets").manifest.training
    before = [row for row in ROWS if row["created_at"] < "2026-03-01"]
    assert facts["events"] == len(before)
    assert facts["validation"]["events"] + facts["training"]["events"] < sum(
        row["status"] is not None for row in before
    )


def test_the_page_of_the_check_stands_alone(folder: Path) -> None:
    read = ReadPage((folder / "check.html").read_text(encoding="utf-8"))
    assert read.faults == []
    assert "wallets.csv" in read.text


def without(*names: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [{key: row[key] for key in row if key not in names} for row in rows]


def with_values(**values: Any) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [row | values for row in rows]


def late_genuine(rows: list[Row]) -> list[Row]:
    """No fraud in the last nine days."""
    last = np.datetime64("2026-03-17") - np.timedelta64(9, "D")
    return [
        row | {"status": "genuine"} if np.datetime64(row["created_at"][:19]) >= last else row
        for row in rows
    ]


def early_genuine(rows: list[Row]) -> list[Row]:
    """No fraud before the last nine days."""
    first = np.datetime64("2026-03-17") - np.timedelta64(9, "D")
    return [
        row | {"status": "genuine"} if np.datetime64(row["created_at"][:19]) < first else row
        for row in rows
    ]


BAD: dict[str, tuple[Callable[[list[Row]], list[Row]], tuple[str, ...]]] = {
    "no label column": (
        without("status"),
        ("training must have labels", "bad.csv has no numbers under 'status'", "--field"),
    ),
    "one class": (
        with_values(status="genuine"),
        ("must have frauds and genuine events", "all 3,000 known labels are genuine"),
    ),
    "no label known": (with_values(status=None), ("must have frauds and genuine", "none of 3,000")),
    "a label that is none": (
        with_values(status="chargeback"),
        ("a label must be 1, true or fraud", "row 1 of the column status of bad.csv"),
    ),
    "no amount": (
        with_values(value=float("nan")),
        ("events that can be read, however: all 3,000 are refused, first row 1 of bad.csv: value",),
    ),
    "times that are none": (
        with_values(created_at="31/01/2026 10:00"),
        ("all 3,000 are refused", "created_at must be an ISO 8601 time", "'31/01/2026 10:00'"),
    ),
    "ten rows": (
        lambda rows: rows[:10],
        ("a history must be longer than 45 days", "its 10 events span 0."),
    ),
    "no fraud in the validation": (
        late_genuine,
        ("the validation period, 2026-03-08", "labelled events 0 are frauds", "--until"),
    ),
    "no fraud in the training": (
        early_genuine,
        ("the training period, 2026-", "labelled events 0 are frauds", "warm_up_days"),
    ),
    "amounts as words": (
        with_values(value="12,50"),
        ("the column value of bad.csv must be a number", "'12,50'"),
    ),
    "labels as numbers that are none": (
        with_values(status=3),
        ("a label must be 1, true or fraud", "row 1 of the column status of bad.csv"),
    ),
    "another file": (
        without("wallet"),
        ("bad.csv must have the column 'wallet'", "--field account=COLUMN"),
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_file_is_one_line_before_training_begins(fault: str, folder: Path) -> None:
    change, parts = BAD[fault]
    write(folder / "bad.csv", change(ROWS))
    done = invoke("train", "./wallet-pack", "--data", "bad.csv", "--out", "bad", cwd=folder)
    assert done.returncode == 2, done.stderr
    line = error_line(done)
    for part in parts:
        assert part in line
    assert "epoch" not in done.stderr
    assert not (folder / "bad").exists()


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"value": float("nan")}, ("all 3,000 are refused", "bad.parquet: value")),
        ({"created_at": "yesterday"}, ("all 3,000 are refused", "created_at must be an ISO 8601")),
        ({"created_at": 17}, ("created_at",)),
        ({"status": 7}, ("a label must be 1, true or fraud", "row 1 of the column status")),
    ],
    ids=["NaN", "times as words", "times as numbers", "labels as numbers"],
)
def test_a_bad_parquet_file_is_one_line_too(
    values: dict[str, Any], parts: tuple[str, ...], folder: Path
) -> None:
    table = pa.Table.from_pylist(with_values(**values)(ROWS))
    pq.write_table(table, folder / "bad.parquet")
    done = invoke("train", "./wallet-pack", "--data", "bad.parquet", "--out", "bad", cwd=folder)
    assert done.returncode == 2, done.stderr
    assert [part for part in parts if part not in error_line(done)] == []
    assert not (folder / "bad").exists()


@pytest.mark.parametrize("content", ["", ",".join(ROWS[0]) + "\n"], ids=["nothing", "a header"])
@pytest.mark.parametrize(
    "command",
    [
        ("train", "./wallet-pack", "--out", "bad", "--data"),
        ("data", "check", "--pack", "./wallet-pack"),
        ("data", "draft", "--out", "bad"),
    ],
    ids=" ".join,
)
def test_a_file_without_rows_is_one_line(
    content: str, command: tuple[str, ...], folder: Path
) -> None:
    (folder / "none.csv").write_text(content, encoding="utf-8")
    done = invoke(*command, "none.csv", cwd=folder)
    assert done.returncode == 2
    assert "none.csv" in error_line(done)
    assert not (folder / "bad").exists()


def test_events_that_are_left_out_are_told_with_count_reason_and_row(folder: Path) -> None:
    rows = [row | {"value": None} if at % 100 == 41 else row for at, row in enumerate(ROWS)]
    # The rows stand in another order than the times: the row is that of the file.
    write(folder / "some.csv", late_genuine(rows)[::-1])
    done = invoke("train", "./wallet-pack", "--data", "some.csv", "--out", "bad", cwd=folder)
    assert "30 of 3,000 events are left out: missing_field 30" in done.stderr
    assert "first row 59 of some.csv: value must have a value" in done.stderr


@pytest.mark.parametrize("out", ["wallets.csv/new", "/proc", "/proc/new"])
def test_a_folder_that_cannot_be_written_is_told_before_training(out: str, folder: Path) -> None:
    if out.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("there is no /proc here, a folder that even root cannot write to")
    done = invoke("train", "./wallet-pack", "--data", "wallets.csv", "--out", out, cwd=folder)
    assert done.returncode == 2
    assert "--out must be a folder to write to" in error_line(done)
    assert "epoch" not in done.stderr


def test_a_scorer_of_other_fields_is_told_before_the_data_is_read(folder: Path) -> None:
    text = (folder / "wallet-pack" / "scorer.toml").read_text(encoding="utf-8")
    (folder / "other").mkdir()
    for name in ("schema.toml", "training.toml"):
        (folder / "other" / name).write_bytes((folder / "wallet-pack" / name).read_bytes())
    (folder / "other" / "scorer.toml").write_text(
        text.replace('counterparty = "receiver"', 'counterparty = "shop"'), encoding="utf-8"
    )
    done = invoke("train", "./other", "--data", "no-such.csv", "--out", "bad", cwd=folder)
    assert done.returncode == 2
    assert "there is no 'shop', which is read by the counterparty" in error_line(done)


def test_a_check_ends_with_1_where_there_is_a_problem(folder: Path) -> None:
    leaking = [row | {"fee": 50.0 if row["status"] == "fraud" else 1.0} for row in ROWS]
    write(folder / "leak.csv", leaking)
    arguments = ("data", "check", "leak.csv", "--pack", "./wallet-pack")
    done = invoke(*arguments, cwd=folder)
    assert (done.returncode, done.stderr) == (1, "")
    assert "problem  fee (feature) alone tells the label almost perfectly" in done.stdout
    assert re.search(r"^ +→ check that the value is there", done.stdout, re.MULTILINE)
    assert "problems: 1, warnings: " in done.stdout
    done = invoke(*arguments, "--json", cwd=folder)
    told = orjson.loads(done.stdout)
    assert (done.returncode, told["worst"], told["rows"]) == (1, "problem", len(ROWS))
    assert {"check", "severity", "found", "advice"} == set(told["findings"][0])
    assert [row["column"] for row in told["tables"]["columns"]] == list(ROWS[0])


def test_a_file_of_rejects_only_is_checked_too(folder: Path) -> None:
    write(folder / "bad.csv", with_values(value=None)(ROWS))
    done = invoke(
        *("data", "check", "bad.csv", "--pack", "./wallet-pack", "--report", "bad.html"), cwd=folder
    )
    assert done.returncode == 1
    assert "3,000 rows (100 %) are refused as missing_field; first, row 1" in done.stdout
    assert ReadPage((folder / "bad.html").read_text(encoding="utf-8")).faults == []


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("check", "wallets.csv", "--pack", "frud"), "did you mean 'fraud'"),
        (("check", "wallets.csv", "--pack", "./none"), "./none is none"),
        (("check", "wallets.csv"), "must have the column 'transaction_id'"),
        (("check", "wallets.csv", "--report", "check.pdf"), "must end in .html"),
        (("check", "wallets.csv", "-p", "./wallet-pack", "--until", "2020-01-01"), "training's"),
        (("check", "wallets.csv", "-p", "./wallet-pack", "--from", "2030-01-01"), "test's"),
        (("draft", "wallets.csv", "--out", "wallet-pack"), "schema.toml is there already"),
        (("draft", "wallets.csv", "--out", "new", "-f", "account=walet"), "did you mean 'wallet'"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_what_cannot_be_done_is_one_line(
    arguments: tuple[str, ...], found: str, folder: Path
) -> None:
    done = invoke("data", *arguments, cwd=folder)
    assert done.returncode == 2
    assert found in error_line(done)
    assert not (folder / "new").exists()


def test_check_and_draft_need_no_torch(folder: Path) -> None:
    """They run where the extra is not installed: its packages cannot be imported there."""
    blocked = folder / "blocked"
    for name in ("torch", "onnx", "sklearn", "jinja2", "matplotlib"):
        (blocked / name).mkdir(parents=True, exist_ok=True)
        text = f"raise ImportError('{name} is not installed')\n"
        (blocked / name / "__init__.py").write_text(text, encoding="utf-8")
    root = str(Path(__file__).parents[2])
    for words in (
        ("data", "draft", "wallets.csv", "--out", "drafted"),
        ("data", "check", "wallets.csv", "--pack", "./drafted"),
    ):
        done = riskstream(*words, cwd=folder, PYTHONPATH=f"{blocked}:{root}")
        assert done.returncode == 0, done.stderr
