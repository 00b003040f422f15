"""A pack from a folder that riskstream does not know is prepared, trained, exported, streamed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from engine.bundle import Bundle
from engine.errors import ConfigError
from models.packs.code import load_code
from tests.cli.running import invoke
from tests.packs.fourth import write_loans, write_pack
from tests.streams.harness import Stream
from tests.streams.synthetic import Sent

pytest.importorskip("torch")

MakeStream = Callable[..., Stream]


def run(*arguments: str, cwd: Path) -> dict[str, object]:
    done = invoke(*arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = orjson.loads(done.stdout.splitlines()[-1])
    return told


async def test_a_fourth_pack_needs_its_own_folder_alone(
    make_stream: MakeStream, embedded_broker: str, tmp_path: Path
) -> None:
    write_pack(tmp_path / "library")
    write_loans(tmp_path / "raw.csv")
    told = run("data", "prepare", "./library", "raw.csv", "--out", "loans.parquet", cwd=tmp_path)
    assert told["events"] == 1_500
    run("train", "./library", "--data", "loans.parquet", "--out", "bundle", cwd=tmp_path)
    manifest = Bundle.load(tmp_path / "bundle").manifest
    assert (manifest.pack, manifest.features[0]) == ("library", "dear")
    assert manifest.parameters == {"share": 0.5}

    options = ("--bundle", "bundle")
    run("score", "loans.parquet", "--out", "scores.parquet", *options, cwd=tmp_path)
    told = run("evaluate", "loans.parquet", "--pack", "./library", *options, cwd=tmp_path)
    scores = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert told["loans"] == len(scores)
    assert told["mean_loss"] == pytest.approx(np.mean([each["loss"] for each in scores]), rel=1e-5)

    loans = pq.read_table(tmp_path / "loans.parquet").drop_columns(["lost"]).to_pylist()
    stream = make_stream(embedded_broker, tmp_path / "bundle")
    await stream.produce([Sent(str(each["reader"]).encode(), orjson.dumps(each)) for each in loans])
    stream.worker()
    outputs = await stream.collect(len(loans))
    found = outputs.by_event()
    for each in scores:
        body = found[each["event_id"]]
        assert body["decision"] == each["decision"]
        assert body["score"] == pytest.approx(each["score"], abs=1e-5)
        assert body["outputs"]["loss"] == pytest.approx(each["loss"], rel=1e-5, abs=1e-5)
    assert {each["decision"] for each in found.values()} == {"lend", "ask", "refuse"}
    alert = orjson.loads(outputs.alerts[0].value)
    assert alert["rules"][0]["name"] == "ask"


def test_code_that_fails_is_told_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "pack.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"must run, however: .*pack\.py: ZeroDivisionError"):
        load_code(tmp_path)


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    text = "from models.features.recency import Recency\n"
    text += "class Mine(Recency): ...\nFEATURES = {'recency': Mine}\n"
    (tmp_path / "pack.py").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"names of their own, however: \['recency'\] are taken"):
        load_code(tmp_path)


def test_a_pack_without_code_has_none(tmp_path: Path) -> None:
    found = load_code(tmp_path)
    assert (found.prepare, found.report) == (None, None)
