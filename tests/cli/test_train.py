"""``riskstream train`` and ``riskstream evaluate``, on a slice of the demo's transactions."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from models.packs.registry import pack_folder
from tests.cli.running import error_line, invoke, riskstream

pytest.importorskip("torch")

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
        OMP_NUM_THREADS="1",  # Two threads of PyTorch on busy cores take five times as long as one.
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


def test_an_evaluation_judges_it(trained: str, folder: Path) -> None:
    arguments = ("evaluate", "slice.parquet", "--bundle", "mine", "--from", UNTIL)
    told = orjson.loads(invoke(*arguments, "--json", cwd=folder).stdout)
    assert 0.5 < told["auc_roc"] <= 1
    assert 0 < told["average_precision"] <= 1
    assert set(told["at_threshold"]) == {"review", "decline"}
    done = invoke(*arguments, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    for name in told:
        assert name == "at_threshold" or f"{name} " in done.stdout
    assert "review " in done.stdout


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
        ("evaluate", "slice.parquet", "--from", "2030-01-01"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_one_line(arguments: tuple[str, ...], folder: Path) -> None:
    done = invoke(*arguments, cwd=folder)
    assert done.returncode == 2, done.stderr
    error_line(done)
