"""A training's process: killed and started again, in several processes, its target taken away."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from engine.bundle import Bundle
from tests.cli.running import COMMAND, environment, error_line, invoke, riskstream, start
from tests.cli.terminal import Terminal
from tests.waiting import wait_for
from tests.wallets import transfers, write

pytest.importorskip("torch")

#: A training here takes half a minute; on a machine that does much else, ten times as long.
TIMEOUT_S = 600
long = pytest.mark.timeout(2 * TIMEOUT_S)

#: As many as give a test the time to interfere.
EPOCHS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wallets.csv, and a pack for it without a cell, which trains in no time."""
    folder = tmp_path_factory.mktemp("runs")
    write(folder / "wallets.csv", transfers(1_000, rate=0.1))
    done = invoke("data", "draft", "wallets.csv", "--out", "pack", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def arguments(out: str, *more: str) -> tuple[str, ...]:
    settings = (
        "hidden=[8]",
        f"patience={EPOCHS}",
        "feature_dropout=0.0",
        "dropout=0.0",
        "windows=64",
    )
    given = [word for each in settings for word in ("--set", each)]
    family = ("--family", "mlp", "--epochs", str(EPOCHS))
    return ("train", "./pack", "--data", "wallets.csv", *family, *given, "--out", out, *more)


@long
@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_bundle(folder: Path) -> None:
    done = riskstream(*arguments("straight"), cwd=folder, timeout_s=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    process = start(*arguments("killed"), cwd=folder)
    kept = folder / "killed" / "checkpoint.pt"
    wait_for(lambda: kept.exists() or process.poll() is not None, TIMEOUT_S, "an epoch")
    process.kill()
    process.communicate()
    assert kept.exists()
    refused = invoke(*arguments("killed", "--seed", "1"), cwd=folder)
    assert refused.returncode == 2
    assert "seed is 0, and now it is 1; give --restart" in error_line(refused)
    done = riskstream(*arguments("killed"), cwd=folder, timeout_s=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^going on after epoch \d+, from killed/checkpoint.pt", done.stderr)
    straight, killed = (Bundle.load(folder / each) for each in ("straight", "killed"))
    assert (killed.model, killed.reasons) == (straight.model, straight.reasons)
    assert killed.manifest.thresholds == straight.manifest.thresholds
    assert not kept.exists()


@long
@pytest.mark.slow
def test_a_target_that_goes_away_loses_no_epoch(folder: Path) -> None:
    """While it trains, the folder becomes a file: nobody can write there, not even root."""
    process = start(*arguments("gone"), cwd=folder)
    out = folder / "gone"
    kept = out / "checkpoint.pt"
    wait_for(lambda: kept.exists() or process.poll() is not None, TIMEOUT_S, "an epoch")
    out.rename(folder / "elsewhere")
    out.write_text("", encoding="utf-8")
    _, told = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2, told
    assert "the checkpoint cannot be written, the training goes on without" in told
    assert f"epoch {EPOCHS:>3}  " in told
    (instead,) = re.findall(r"the bundle was written to (\S+): move it", told)
    assert Bundle.load(Path(instead)).manifest.training["epochs"] == EPOCHS
    shutil.rmtree(instead)


@long
@pytest.mark.slow
def test_torchrun_trains_the_same_bundle_in_two_processes(folder: Path) -> None:
    scores = []
    for out, size in (("alone", 1), ("both", 2)):
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        done = subprocess.run(
            [*launch, f"--nproc-per-node={size}", *COMMAND[1:], *arguments(out, "--json")],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, done.stderr
        assert orjson.loads(done.stdout)["bundle"] == out
        assert done.stderr.count("epoch   1  ") == 1
        assert Bundle.load(folder / out).manifest.training["processes"] == size
        told = invoke("score", "wallets.csv", "-b", out, "-o", f"{out}.parquet", cwd=folder)
        assert told.returncode == 0, told.stderr
        scores.append(pq.read_table(folder / f"{out}.parquet")["score"].to_numpy())
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)


@long
@pytest.mark.slow
def test_a_search_writes_settings_that_train(folder: Path) -> None:
    (folder / "pack" / "search.toml").write_text(
        "[learning_rate]\nlow = 1e-3\nhigh = 1e-2\nlog = true\n[families.mlp.hidden]\n"
        "choices = [[8], [4]]\n",
        encoding="utf-8",
    )
    words = ("search", "./pack", "--data", "wallets.csv", "--family", "mlp", "-o", "found.toml")
    for trials in ("2", "3"):
        done = riskstream(*words, "--trials", trials, "--set", "epochs=2", "--json", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert orjson.loads(done.stdout)["trials"] == int(trials)
    assert "going on after trial 2, from found.db" in done.stderr
    (folder / "pack" / "training.toml").write_bytes((folder / "found.toml").read_bytes())
    done = riskstream(*arguments("found"), cwd=folder, timeout_s=TIMEOUT_S)
    assert done.returncode == 0, done.stderr


@long
@pytest.mark.slow
def test_a_terminal_shows_how_far_it_is(folder: Path) -> None:
    with Terminal(*arguments("shown"), cwd=folder) as terminal:
        text = terminal.read_until(lambda text: f"epoch 3 of {EPOCHS}" in text, TIMEOUT_S)
    assert "features" in text
    assert "validation AP" in text


@pytest.mark.parametrize(
    ("more", "found"),
    [
        (("--device", "tpu"), "--device must be one of auto, cpu, cuda"),
        (("--set", "epochs"), "--set must be NAME=VALUE"),
        (("--set", "dropot=0.1"), "did you mean 'dropout'"),
        (("--checkpoint", "wallets.csv"), "--checkpoint must be a folder to write to"),
    ],
)
def test_what_cannot_be_done_is_one_line(more: tuple[str, ...], found: str, folder: Path) -> None:
    done = invoke(*arguments("none", *more), cwd=folder)
    assert done.returncode == 2
    assert found in error_line(done)
    assert "epoch   1" not in done.stderr
