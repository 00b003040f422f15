"""What a benchmark's table says of its run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.steadiness import probe

RUN = Path(__file__).parents[1] / "docs/benchmark/benchmark.json"


@pytest.fixture
def run() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RUN.read_text("utf-8"))
    return {name: value for name, value in found.items() if name != "steadiness"}


def test_a_table_says_how_steady_the_machine_was(run: dict[str, Any]) -> None:
    probes = [
        {"at_once_us": at_once, "after_us": after}
        for at_once, after in [(62.0, 100.0), (101.6, 360.0), (66.0, 290.4)]
    ]
    table = report.to_markdown(run | {"steadiness": probes})
    assert "before each of 3 turns, took 66 µs (62 to 102) right after itself" in table
    assert "and 290 µs (100 to 360) after some milliseconds of other work" in table


def test_a_run_that_did_not_try_says_nothing_of_it(run: dict[str, Any]) -> None:
    assert "turns, took" not in report.to_markdown(run)


def test_what_is_tried_takes_longer_than_nothing() -> None:
    found = probe()
    assert found.at_once_us > 0
    assert found.after_us > 0
