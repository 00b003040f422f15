"""``riskstream demo credit`` and ``riskstream demo market``, from what comes with riskstream."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

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
