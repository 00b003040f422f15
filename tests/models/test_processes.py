"""Several processes take the steps that one would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.cells.registry import CELLS
from models.processes import ALONE, joined
from tests.models.together import main

ROOT = Path(__file__).parents[2]


def test_a_program_that_torchrun_did_not_start_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with joined("cpu") as processes:
        assert processes == ALONE
        assert processes.first


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process learns of each family."""
    file = tmp_path_factory.mktemp("alone") / "found.pt"
    main(file, list(CELLS))
    return file


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_processes_learn_together_what_one_learns_alone(
    size: int, alone: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={size}", "-m", "tests.models.together"]
    done = subprocess.run(
        [*command, str(tmp_path / "found.pt"), *CELLS],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    one, many = (torch.load(file, weights_only=True) for file in (alone, tmp_path / "found.pt"))
    assert (one["size"], many["size"]) == (1, size)
    assert one.keys() == many.keys()
    for case in one.keys() - {"size"}:
        assert many[case]["loss"] == pytest.approx(one[case]["loss"], rel=1e-4), case
        for each in ("weights", "logits"):
            found, expected = many[case][each], one[case][each]
            torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3, msg=case)
