"""``riskstream score``: files in, scores and rejects out, and clear errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from engine.bundle import Bundle
from engine.decode import Decoder
from engine.device import Device
from engine.offline import OfflineScorer
from engine.scorer import Scorer
from models.packs.registry import pack_folder
from tests.bundles import shared_bundle, tiny_bundle
from tests.cli.files import write
from tests.cli.running import error_line, invoke, riskstream
from tests.streams.synthetic import START, payments

COLUMNS = ["score_id", "event_id", "account", "event_time", "score", "decision"]
COLUMNS += ["duplicate", "late"]
EVENTS = payments(300, accounts=20)
HOUR_MS = 3_600_000

#: Over a month, at two terminals; a third of them frauds, and some not known.
LABELLED = [
    {**event, "fraud": [0.0, 0.0, 1.0, None][at % 4]}
    for at, event in enumerate(payments(1_500, accounts=25, terminals=2))
]


def scores(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def score(file: Path, *options: str | Path) -> list[dict[str, Any]]:
    """Score a file into scores.parquet beside it, and return the rows."""
    done = invoke("score", file, *options, cwd=file.parent)
    assert done.returncode == 0, done.stderr
    return scores(file.parent / "scores.parquet")


def test_each_kind_of_file_gives_the_same_scores(tmp_path: Path) -> None:
    found = [score(write(tmp_path / f"h.{kind}", EVENTS)) for kind in ("parquet", "csv", "jsonl")]
    assert found[0] == found[1] == found[2]
    assert list(found[0][0]) == COLUMNS
    assert [row["event_id"] for row in found[0]] == [event["transaction_id"] for event in EVENTS]
    assert [row["account"] for row in found[0]] == [event["card_id"] for event in EVENTS]
    assert found[0][0]["event_time"] >= START
    assert all(0 <= row["score"] <= 1 for row in found[0])
    assert {row["decision"] for row in found[0]} <= {"approve", "review", "decline"}


def test_json_counts_what_was_scored(tmp_path: Path) -> None:
    file = write(tmp_path / "h.parquet", EVENTS)
    done = riskstream("score", file, "--out", "new/s.parquet", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    told = orjson.loads(line)
    assert (told["events"], told["scored"], told["rejects"]) == (300, 300, {})
    assert sum(told["decisions"].values()) == 300
    assert told["out"] == "new/s.parquet"
    assert len(scores(tmp_path / "new" / "s.parquet")) == 300


def test_without_json_people_read_the_counts(tmp_path: Path) -> None:
    done = riskstream("score", write(tmp_path / "h.csv", EVENTS), cwd=tmp_path)
    assert "300 events scored in " in done.stdout
    assert "into scores.parquet" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == [
        "approve",
        "review",
        "decline",
    ]


def test_rejects_tell_row_reason_and_detail(tmp_path: Path) -> None:
    events = [dict(event) for event in EVENTS[:50]]
    events[7]["amount"] = -1.0
    events[9]["card_id"] = ""
    file = write(tmp_path / "h.jsonl", events)
    done = invoke("score", file, "--rejects", "bad.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(scores(tmp_path / "scores.parquet")) == 48
    found = [orjson.loads(line) for line in (tmp_path / "bad.jsonl").read_bytes().splitlines()]
    assert [(each["row"], each["reason"]) for each in found] == [
        (7, "below_minimum"),
        (9, "empty"),
    ]
    assert "amount" in found[0]["detail"]
    assert orjson.loads(found[0]["event"])["transaction_id"] == "t7"
    assert "not scored: below_minimum" in done.stdout


def test_json_counts_rejects_by_reason(tmp_path: Path) -> None:
    events = [dict(event) for event in EVENTS[:50]]
    for at in (7, 8):
        events[at]["amount"] = -1.0
    events[9]["card_id"] = ""
    done = invoke("score", write(tmp_path / "h.jsonl", events), "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    told = orjson.loads(line)
    assert (told["events"], told["scored"]) == (50, 47)
    assert told["rejects"] == {"below_minimum": 2, "empty": 1}


def renamed(**names: str) -> list[dict[str, Any]]:
    return [{names.get(name, name): value for name, value in each.items()} for each in EVENTS]


def test_fields_are_mapped_to_columns(tmp_path: Path) -> None:
    plain = score(write(tmp_path / "plain.csv", EVENTS))
    file = write(tmp_path / "raw.csv", renamed(amount="TX_AMOUNT", card_id="CUSTOMER_ID"))
    assert score(file, "-f", "amount=TX_AMOUNT", "-f", "account=CUSTOMER_ID") == plain
    config = tmp_path / "mine.toml"
    config.write_text("[fields]\namount = 'TX_AMOUNT'\naccount = 'CUSTOMER_ID'\n")
    assert score(file, "--config", config) == plain


def test_a_missing_column_is_named_with_what_was_found_and_how_to_map_it(tmp_path: Path) -> None:
    file = write(tmp_path / "raw.parquet", renamed(amount="tx_amount"))
    done = invoke("score", file, cwd=tmp_path)
    assert done.returncode == 2
    line = error_line(done)
    assert "raw.parquet must have the column 'amount'" in line
    for column in ("transaction_id", "time", "card_id", "terminal_id", "tx_amount"):
        assert column in line
    assert "if that is 'tx_amount', map it with --field amount=COLUMN" in line
    assert not (tmp_path / "scores.parquet").exists()


def test_labels_are_carried(tmp_path: Path) -> None:
    labelled = [{**event, "fraud": at % 2} for at, event in enumerate(EVENTS)]
    rows = score(write(tmp_path / "h.parquet", labelled))
    assert list(rows[0]) == [*COLUMNS, "label"]
    assert [row["label"] for row in rows] == [at % 2 for at in range(300)]


def test_from_and_until_cut_the_history(tmp_path: Path) -> None:
    file = write(tmp_path / "h.parquet", EVENTS)
    start, until = EVENTS[100]["time"], EVENTS[200]["time"]
    wanted = [each["transaction_id"] for each in EVENTS if start <= each["time"] < until]
    assert wanted
    rows = score(file, "--from", start, "--until", until)
    assert [row["event_id"] for row in rows] == wanted


def test_no_events_are_no_scores(tmp_path: Path) -> None:
    rows = score(write(tmp_path / "h.parquet", EVENTS), "--from", "2030-01-01")
    assert rows == []


@pytest.mark.parametrize(
    ("options", "rule", "found"),
    [
        (["--from", "tomorrow"], "--from must be an ISO 8601 time", "'tomorrow'"),
        (["--until", "32"], "--until must be an ISO 8601 time", "'32'"),
        (["--field", "amount"], "--field must be NAME=COLUMN", "'amount'"),
        (["--field", "amuont=x"], "amuont", "amount"),
        (["--out", "file/s.parquet"], "--out must be writable", "file"),
        (["--out", "."], "--out must be writable", "."),
        (["--rejects", "file/r.jsonl"], "--rejects must be writable", "file"),
        (["--config", "no.toml"], "the configuration must be a file", "no.toml"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_a_wrong_option_is_one_line(
    options: list[str], rule: str, found: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    done = invoke("score", write(tmp_path / "h.parquet", EVENTS), *options, cwd=tmp_path)
    assert done.returncode == 2
    line = error_line(done)
    assert rule in line
    assert found in line


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("gone.parquet", None, "gone.parquet is no such file"),
        ("h.xlsx", b"x", "must end in one of .parquet, .csv, .jsonl"),
        ("h.parquet", b"x", "a history must be readable"),
        ("h.csv", b"", "a history must be readable"),
        ("h.jsonl", b"1\n2\n", "must be an object"),
    ],
)
def test_a_file_that_is_no_history_is_refused(
    name: str, content: bytes | None, rule: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = invoke("score", name, cwd=tmp_path)
    assert done.returncode == 2
    assert rule in error_line(done)


def test_a_damaged_bundle_is_refused(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for file in (pack_folder("fraud") / "bundle").iterdir():
        (bundle / file.name).write_bytes(file.read_bytes())
    (bundle / "model.onnx").write_bytes(b"nothing")
    file = write(tmp_path / "h.parquet", EVENTS)
    done = riskstream("score", file, "--bundle", bundle, cwd=tmp_path)
    assert done.returncode == 3
    assert "model.onnx" in error_line(done)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (("--out", "history.jsonl"), "--out must be another file than the history"),
        (("--out", "sub/../history.jsonl"), "--out must be another file than the history"),
        (("--out", "symbolic.jsonl"), "--out must be another file than the history"),
        (("--out", "hard.jsonl"), "--out must be another file than the history"),
        (("--rejects", "history.jsonl"), "--rejects must be another file than the history"),
        (("--rejects", "symbolic.jsonl"), "--rejects must be another file than the history"),
        (("--out", "new", "--rejects", "sub/../new"), "--rejects must be another file than --out"),
        (("--rejects", "scores.parquet"), "--rejects must be another file than --out"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_no_file_overwrites_another(options: tuple[str, ...], rule: str, tmp_path: Path) -> None:
    file = write(tmp_path / "history.jsonl", EVENTS)
    precious = file.read_bytes()
    (tmp_path / "symbolic.jsonl").symlink_to(file)
    (tmp_path / "hard.jsonl").hardlink_to(file)
    (tmp_path / "sub").mkdir()
    before = sorted(tmp_path.iterdir())
    done = invoke("score", file, *options, cwd=tmp_path)
    assert done.returncode == 2
    assert rule in error_line(done)
    assert file.read_bytes() == precious
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_bundle(tmp_path_factory.mktemp("bundle") / "shared")


def offline(folder: Path, delay_ms: int | None) -> dict[str, tuple[float, list[float]]]:
    """What the core makes of the labelled events: scores and features."""
    bundle = Bundle.load(folder)
    scorer = OfflineScorer(
        Decoder(bundle.manifest.schema), Scorer(bundle, Device.CPU), delay_ms, with_features=True
    )
    labels = np.array([event["fraud"] for event in LABELLED], dtype=np.float32)
    events = [{k: v for k, v in event.items() if k != "fraud"} for event in LABELLED]
    batch = scorer.score([orjson.dumps(event) for event in events], 1 << 42, labels)
    assert batch.scored.features is not None
    found = zip(batch.scored.scores.tolist(), batch.scored.features.tolist(), strict=True)
    return dict(zip(batch.columns.event_ids, found, strict=True))


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize(("delay", "hours"), [("7d", 168), ("36h", 36), ("0.25d", 6), (None, None)])
def test_labels_are_known_after_their_delay(
    kind: str, delay: str | None, hours: int | None, shared: Path, tmp_path: Path
) -> None:
    file = write(tmp_path / f"h.{kind}", LABELLED)
    options = ("--labels-delay", delay) if delay else ()
    rows = score(file, "--bundle", shared, *options)
    wanted = offline(shared, None if hours is None else hours * HOUR_MS)
    assert {row["event_id"] for row in rows} == wanted.keys()
    expected = [wanted[row["event_id"]][0] for row in rows]
    np.testing.assert_allclose([row["score"] for row in rows], expected, atol=1e-6)


def test_each_delay_gives_other_scores(shared: Path) -> None:
    found = [offline(shared, hours and hours * HOUR_MS) for hours in (168, 36, 6, None)]
    assert len({tuple(score for score, _ in each.values()) for each in found}) == 4


def test_features_stand_beside_the_scores(shared: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "h.parquet", LABELLED)
    rows = score(file, "--bundle", shared, "--labels-delay", "36h", "--features")
    names = list(Bundle.load(shared).manifest.features)
    assert list(rows[0]) == [*COLUMNS, "label", *names]
    wanted = offline(shared, 36 * HOUR_MS)
    found = [[row[name] for name in names] for row in rows]
    expected = [wanted[row["event_id"]][1] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_features_of_a_bundle_without_any_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    file = write(tmp_path / "h.parquet", EVENTS)
    (tmp_path / "scores.parquet").write_bytes(b"of yesterday")
    tiny = tiny_bundle(tmp_path / "tiny")
    done = invoke("score", file, "--features", "--bundle", tiny, cwd=tmp_path)
    assert done.returncode == 3
    assert "--features must have a bundle that names its features" in error_line(done)
    assert (tmp_path / "scores.parquet").read_bytes() == b"of yesterday"


@pytest.mark.parametrize("delay", ["", "7", "-7d", "7w", "d", "1e3d", "inf", "nan"])
def test_a_wrong_delay_is_one_line(delay: str, shared: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "h.parquet", LABELLED)
    done = invoke("score", file, f"--labels-delay={delay}", "--bundle", shared, cwd=tmp_path)
    assert done.returncode == 2
    assert "--labels-delay must be a number and a unit of d, h, m or s" in error_line(done)
    assert repr(delay) in error_line(done)
    assert not (tmp_path / "scores.parquet").exists()


def test_a_delay_beyond_ten_years_is_refused(shared: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "h.parquet", LABELLED)
    for delay in ("3651d", "9" * 400 + "d"):
        done = invoke("score", file, "--labels-delay", delay, "--bundle", shared, cwd=tmp_path)
        assert done.returncode == 2
        assert "--labels-delay must be at most 3650d" in error_line(done)


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_delay_needs_labels(kind: str, shared: Path, tmp_path: Path) -> None:
    file = write(tmp_path / f"h.{kind}", EVENTS)
    done = invoke("score", file, "--labels-delay", "7d", "--bundle", shared, cwd=tmp_path)
    assert done.returncode == 2
    line = error_line(done)
    assert f"h.{kind} has no numbers under 'fraud'; map it with --field" in line
    assert not (tmp_path / "scores.parquet").exists()


def test_labels_stand_where_a_field_says(shared: Path, tmp_path: Path) -> None:
    plain = score(write(tmp_path / "h.csv", LABELLED), "-b", shared, "--labels-delay", "36h")
    renamed = [{k.replace("fraud", "TX_FRAUD"): v for k, v in e.items()} for e in LABELLED]
    file = write(tmp_path / "raw.csv", renamed)
    options = ("--labels-delay", "36h", "-f", "fraud=TX_FRAUD")
    rows = score(file, "-b", shared, *options)
    assert [row["score"] for row in rows] == [row["score"] for row in plain]


def test_a_model_that_uses_no_labels_is_told(tmp_path: Path) -> None:
    file = write(tmp_path / "h.parquet", LABELLED)
    tiny = tiny_bundle(tmp_path / "tiny")
    done = invoke("score", file, "--labels-delay", "7d", "--bundle", tiny, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == "the model tiny uses no labels: they change no score\n"
