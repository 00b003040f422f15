"""``riskstream train`` and ``riskstream evaluate``, on a slice of the demo's transactions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from engine.bundle import Bundle
from models.packs.registry import pack_folder
from tests.cli.running import error_line, invoke, riskstream
from tests.html import ReadPage

pytest.importorskip("torch")
from models.cells.registry import CELLS

CARDS = 60
UNTIL = "2018-08-08"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with slice.parquet: the transactions of a few cards, some of them stolen."""
    table = pq.read_table(pack_folder("fraud") / "demo" / "transactions.parquet")
    stolen = table.filter(pc.greater(table["fraud"], 0))
    cards = pc.unique(pa.chunked_array([*stolen["card_id"].chunks, *table["card_id"].chunks]))
    folder = tmp_path_factory.mktemp("train")
    pq.write_table(
        table.filter(pc.is_in(table["card_id"], cards[:CARDS])), folder / "slice.parquet"
    )
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> str:
    """What training a bundle into folder/mine printed."""
    done = riskstream(
        *("train", "fraud", "--data", "slice.parquet", "--until", UNTIL),
        *("--epochs", "4", "--name", "mine", "--version", "7", "--out", "mine", "--json"),
        cwd=folder,
        timeout_s=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].startswith("epoch   4  ")
    return done.stdout


def test_training_writes_a_bundle_that_is_sound_and_scores(trained: str, folder: Path) -> None:
    told = orjson.loads(trained)
    assert told["bundle"] == "mine"
    assert told["validation"]
    done = invoke("bundle", "verify", "mine", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "mine version 7 is sound" in done.stdout
    done = invoke("score", "slice.parquet", "--bundle", "mine", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (
        orjson.loads(done.stdout)["scored"] == pq.read_metadata(folder / "slice.parquet").num_rows
    )


EVALUATE = ("evaluate", "slice.parquet", "--bundle", "mine", "--from", UNTIL)


def test_an_evaluation_judges_it(trained: str, folder: Path) -> None:
    told = orjson.loads(invoke(*EVALUATE, "--json", cwd=folder).stdout)
    assert 0.5 < told["auc_roc"] <= 1
    assert 0 < told["average_precision"] <= 1
    assert set(told["at_threshold"]) == {"review", "decline"}
    assert told["bundle"]["name"] == "mine"
    assert told["graph"]["us_per_event"].keys() == {"1", "64", "256"}
    done = invoke(*EVALUATE, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    for each in ("mine, version 7", f"{told['events']:,}", "Thresholds", "Where it fails"):
        assert each in done.stdout
    assert f"{told['average_precision']:.4f}  average precision" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_costs_on_the_command_line_are_weighed(trained: str, folder: Path) -> None:
    costs = ("--review-cost", "1.5", "--fraud-loss-share", "0.5", "--decline-cost", "8")
    told = orjson.loads(invoke(*EVALUATE, *costs, "--json", cwd=folder).stdout)
    assert told["costs"] == {"review_cost": 1.5, "fraud_loss_share": 0.5, "decline_cost": 8.0}
    declined, reviewed = told["actions"]["declined"], told["actions"]["reviewed"]
    wrong = declined["alerts"] - declined["frauds"]
    caught = told["actions"]["alerted"]["amount"]
    saved = 0.5 * caught - 1.5 * reviewed["alerts"] - 8 * wrong
    assert told["money"]["saved"] == pytest.approx(saved)


def test_a_report_a_card_and_baselines_are_made(trained: str, folder: Path) -> None:
    digest = Bundle.load(folder / "mine").digest
    extra = ("--report", "report.html", "--write-card", "--baselines", "--scenario", "kind")
    done = invoke("evaluate", with_kinds(folder), *EVALUATE[2:], *extra, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    told = orjson.loads(done.stdout)
    assert told["baselines"].keys() == {"logistic regression", "gradient-boosted trees"}
    kinds = {each["name"]: each for each in told["slices"] if each["group"] == "fraud scenario"}
    assert kinds.keys() == {"small", "large"}
    assert sum(each["frauds"] for each in kinds.values()) == told["positives"]
    read = ReadPage((folder / "report.html").read_text(encoding="utf-8"))
    assert read.faults == []
    for each in (digest[:12], "kinds.parquet", "gradient-boosted trees", f"{told['events']:,}"):
        assert each in read.text
    card = (folder / "mine" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "## Validation" in card
    assert "## Evaluation of mine" in card
    assert Bundle.load(folder / "mine").digest == digest


def with_kinds(folder: Path) -> Path:
    """The history with a column that says of each fraud whether it was small or large."""
    table = pq.read_table(folder / "slice.parquet")
    kinds = pc.if_else(pc.greater(table["amount"], 80), "large", "small")
    none = pa.scalar(None, pa.string())
    path = folder / "kinds.parquet"
    pq.write_table(
        table.append_column("kind", pc.if_else(pc.greater(table["fraud"], 0), kinds, none)), path
    )
    return path


@pytest.mark.slow
@pytest.mark.parametrize("family", ["cnn", "attention"])
def test_another_family_is_trained_by_its_name(family: str, folder: Path) -> None:
    done = riskstream(
        *("train", "fraud", "--data", "slice.parquet", "--until", UNTIL),
        *("--family", family, "--epochs", "1", "--out", family, "--json"),
        cwd=folder,
        timeout_s=240,
    )
    assert done.returncode == 0, done.stderr
    shown = invoke("bundle", "show", family, cwd=folder)
    assert shown.returncode == 0, shown.stderr
    assert f"fraud, {family}" in shown.stdout
    done = invoke("score", "slice.parquet", "--bundle", family, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr


def test_the_help_names_every_family(folder: Path) -> None:
    shown = invoke("train", "--help", cwd=folder, COLUMNS="200").stdout
    assert [family for family in CELLS if f" {family}" not in shown] == []


def without_labels(folder: Path) -> Path:
    path = folder / "unlabelled.parquet"
    pq.write_table(pq.read_table(folder / "slice.parquet").drop_columns(["fraud"]), path)
    return path


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        (("train", "fraud", "--out", "none", "--data"), "training must have labels"),
        (("evaluate",), "an evaluation must have labels"),
    ],
    ids=["train", "evaluate"],
)
def test_a_file_without_labels_is_one_line(
    command: tuple[str, ...], rule: str, folder: Path
) -> None:
    done = invoke(*command, without_labels(folder), cwd=folder)
    assert done.returncode == 2
    line = error_line(done)
    assert rule in line
    assert "unlabelled.parquet has no numbers under 'fraud'" in line
    assert "--field" in line
    assert not (folder / "none").exists()


TRAIN = ("train", "fraud", "--data", "slice.parquet", "--out")


@pytest.mark.parametrize(
    "arguments",
    [
        (*TRAIN, "new", "--until", "2018-06-10"),
        (*TRAIN, "slice.parquet/new"),
        ("train", "frud", "--data", "slice.parquet", "--out", "new"),
        (*TRAIN, "new", "--family", "lstm"),
        ("evaluate", "slice.parquet", "--from", "2030-01-01"),
        ("evaluate", "slice.parquet", "--from", UNTIL, "--scenario", "knd"),
        ("evaluate", "slice.parquet", "--from", UNTIL, "--scenario", ".."),
        ("evaluate", "slice.parquet", "--from", UNTIL, "--write-card"),
        ("evaluate", "slice.parquet", "--from", UNTIL, "--report", "none/report.html"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_one_line(arguments: tuple[str, ...], folder: Path) -> None:
    done = invoke(*arguments, cwd=folder)
    assert done.returncode == 2, done.stderr
    error_line(done)


def choose(folder: Path, *arguments: str) -> dict[str, Any]:
    """What ``bundle thresholds`` says of the bundle ``new`` that it makes of ``mine``."""
    given = ("mine", "--data", "slice.parquet", "--from", UNTIL, "--out", "new")
    done = invoke("bundle", "thresholds", *given, *arguments, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = orjson.loads(done.stdout)
    return told


def test_thresholds_are_chosen_anew_without_training(trained: str, folder: Path) -> None:
    old = Bundle.load(folder / "mine")
    told = choose(folder, "--alerts-per-day", "2", "--version", "8")
    new = Bundle.load(folder / "new")
    assert (new.model, new.reasons, new.manifest.state) == (
        old.model,
        old.reasons,
        old.manifest.state,
    )
    assert new.digest == told["digest"] != old.digest
    assert new.manifest.version == "8"
    assert told["new"]["thresholds"]["review"] == new.manifest.thresholds.review
    assert 0 < told["new"]["actions"]["alerted"]["per_day"] <= 2
    assert new.manifest.training["thresholds"]["alerts_per_day"] == 2
    card = (folder / "new" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "gives 2 alerts a day" in card
    saved = [
        choose(folder, "--by-cost", "--review-cost", cost)["new"]["actions"]["reviewed"]["alerts"]
        for cost in ("0.1", "50")
    ]
    assert saved[0] > saved[1]


CHOOSE = ("bundle", "thresholds", "mine", "--data", "slice.parquet", "--out")


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ((*CHOOSE, "new"), "chosen in one way"),
        ((*CHOOSE, "new", "--by-cost", "--alerts-per-day", "4"), "chosen in one way"),
        ((*CHOOSE, "mine", "--by-cost"), "another folder"),
        ((*CHOOSE, "new", "--review-share", "2"), "at most 1"),
        ((*CHOOSE, "new", "--by-cost", "--from", "2030-01-01"), "events to judge"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_thresholds_that_cannot_be_chosen_are_one_line(
    arguments: tuple[str, ...], rule: str, trained: str, folder: Path
) -> None:
    done = invoke(*arguments, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert rule in error_line(done)
