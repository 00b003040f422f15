"""``riskstream demo credit`` and ``riskstream demo market``, from what comes with riskstream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest

from engine.history import History
from models.packs.registry import pack_folder
from riskstream.demo_run import load_plan
from tests.cli.processes import needs_proc, processes
from tests.cli.running import riskstream
from tests.packs.tools import bundle_of


@needs_proc
@pytest.mark.parametrize(("pack", "events"), [("credit", 12_000), ("market", 6_320)])
def test_a_packs_demo_scores_everything_and_leaves_nothing_running(
    pack: str, events: int, tmp_path: Path
) -> None:
    done = riskstream(
        *("demo", pack, "--json", "--rate", "20000", "--dir", "X"), cwd=tmp_path, timeout_s=200
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = orjson.loads(done.stdout)
    assert (told["scored"], told["missing"]) == (events, 0)
    assert tuple(told["decisions"]) == bundle_of(pack).manifest.decisions
    assert sum(told["decisions"].values()) == told["live_events"]
    assert 0 < told["alerts"] < told["live_events"] / 2
    lines = (tmp_path / "X" / "alerts.jsonl").read_bytes().splitlines()
    assert all(orjson.loads(line)["rules"] for line in lines)
    if pack == "credit":
        assert told["precision"] > 1.3 * told["defaults"] / told["live_events"]
    assert processes(tmp_path) == []


def test_a_demo_says_in_its_file_what_positives_are_called(tmp_path: Path) -> None:
    text = 'transactions = "loans.parquet"\nlive_from = "2024-01-01"\n'
    manifest = bundle_of("credit").manifest
    (tmp_path / "demo.toml").write_text(text, encoding="utf-8")
    assert load_plan(tmp_path, None, manifest).positive == "positives"
    (tmp_path / "demo.toml").write_text(text + 'positives = "lost books"\n', encoding="utf-8")
    assert load_plan(tmp_path, None, manifest).positive == "lost books"


def test_the_credit_demos_statements_come_one_after_the_other() -> None:
    plan = load_plan(pack_folder("credit") / "demo", 100.0, bundle_of("credit").manifest)
    times_ms = History.open(plan.transactions, bundle_of("credit").manifest.schema).event_time_ms
    live = times_ms[times_ms >= plan.live_from_ms]
    assert len(live) == 2_000
    assert np.diff(live).max() <= 60_000 < 12 * 3_600_000 < live[-1] - live[0]
