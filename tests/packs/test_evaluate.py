"""``riskstream evaluate`` gives a pack's own report, in the terminal, as JSON and as a page."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from models.packs.registry import pack_folder
from tests.cli.running import invoke
from tests.html import ReadPage

pytest.importorskip("torch")

CREDIT, MARKET = pack_folder("credit"), pack_folder("market")


def evaluate(pack: Path, file: str, *options: str, cwd: Path) -> str:
    data = pack / "demo" / file
    done = invoke("evaluate", data, "--bundle", pack / "bundle", *options, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_credit_is_judged_on_the_statements_with_an_outcome(tmp_path: Path) -> None:
    options = ("--json", "--report", "credit.html")
    told = orjson.loads(evaluate(CREDIT, "statements.parquet", *options, cwd=tmp_path))
    assert (told["clients"], told["defaults"]) == (2_000, 463)
    assert told["auc"] > 0.77
    assert told["gini"] == pytest.approx(2 * told["auc"] - 1)
    assert [each["decision"] for each in told["decisions"]] == ["approve", "review", "decline"]
    rates = [each["rate"] for each in told["decisions"]]
    assert rates == sorted(rates)
    groups = {(each["attribute"], each["group"]): each["clients"] for each in told["fairness"]}
    assert groups["sex", "men"] + groups["sex", "women"] == 2_000
    assert sum(count for (what, _), count in groups.items() if what == "age") == 2_000
    page = ReadPage((tmp_path / "credit.html").read_text(encoding="utf-8"))
    assert {"Ranking and calibration", "Lift", "Fairness"} <= set(page.headings)


def test_market_is_judged_from_a_day_on_against_the_returns_that_came(tmp_path: Path) -> None:
    options = ("--from", "2020-01-01", "--json", "--report", "market.html")
    told = orjson.loads(evaluate(MARKET, "bars.parquet", *options, cwd=tmp_path))
    assert told["securities"] == 20
    assert [each["days"] for each in told["by_security"]] == [125] * 20
    assert told["below"] == sorted(told["below"])
    assert 0.0 < told["below"][0] < 0.06
    assert sum(told["decisions"].values()) == 20 * 125
    page = ReadPage((tmp_path / "market.html").read_text(encoding="utf-8"))
    assert "Coverage by security" in page.headings


def test_the_credit_report_tells_the_parameters_and_limits_in_use(tmp_path: Path) -> None:
    text = "[parameters]\nloss_given_default = 0.6\n[limits]\nreview = 5000.0\n"
    (tmp_path / "c.toml").write_text(text, encoding="utf-8")
    shown = evaluate(CREDIT, "statements.parquet", "-c", "c.toml", cwd=tmp_path)
    assert "review: expected loss of 5,000 or more" in shown
    assert "decline: expected loss of 25,000 or more" in shown
    assert "loss_given_default: 0.6" in shown


def test_a_bundle_with_parameters_is_judged_without_a_report_of_its_own(tmp_path: Path) -> None:
    told = orjson.loads(
        evaluate(CREDIT, "statements.parquet", "--pack", "fraud", "--json", cwd=tmp_path)
    )
    assert told["metrics"]["positives"] == 463
