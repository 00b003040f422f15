"""``riskstream evaluate`` gives a pack's own report, in the terminal, as JSON and as a page."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from models.packs.registry import pack_folder
from tests.cli.running import error_line, invoke
from tests.html import ReadPage

pytest.importorskip("torch")

CREDIT, MARKET = pack_folder("credit"), pack_folder("market")


def evaluate(pack: Path, file: str, *options: str, cwd: Path, **variables: str) -> str:
    data = pack / "demo" / file
    done = invoke("evaluate", data, "--bundle", pack / "bundle", *options, cwd=cwd, **variables)
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
    assert told["positives"] == 463


def test_credit_is_judged_once_a_client_and_not_on_clients_that_only_teach(tmp_path: Path) -> None:
    table = pq.read_table(CREDIT / "demo" / "statements.parquet")
    months = [each[:7] for each in table["time"].to_pylist()]
    before = pa.array([each == "2005-08" for each in months])
    label = pc.if_else(before, pa.scalar(1, pa.int8()), table["default"])
    table = table.set_column(table.column_names.index("default"), "default", label)
    taught = table
    for name in ("client_id", "statement_id"):
        texts = [f"{each}~short" for each in table[name].to_pylist()]
        taught = taught.set_column(table.column_names.index(name), name, pa.array(texts))
    pq.write_table(pa.concat_tables([table, taught]), tmp_path / "training.parquet")
    options = ("--bundle", CREDIT / "bundle", "--json")
    done = invoke("evaluate", "training.parquet", *options, cwd=tmp_path)
    told = orjson.loads(done.stdout)
    assert (told["clients"], told["defaults"]) == (2_000, 463)


def test_fairness_tells_exposure_and_calibration_of_each_group(tmp_path: Path) -> None:
    shown = evaluate(CREDIT, "statements.parquet", cwd=tmp_path, COLUMNS="80")
    fairness = shown.partition("Fairness")[2].partition("Principal reasons")[0]
    assert "approval differs with the exposure" in " ".join(fairness.split())
    for column in ("rate", "calibration error", "mean exposure", "approved"):
        assert column in fairness
    told = orjson.loads(evaluate(CREDIT, "statements.parquet", "--json", cwd=tmp_path))
    assert all(each["mean_exposure"] > 10_000 for each in told["fairness"])


@pytest.mark.parametrize(
    "options",
    [
        ("--baselines",),
        ("--scenario", "kind"),
        ("--review-cost", "3"),
        ("--fraud-loss-share", "0.5"),
        ("--decline-cost", "0"),
    ],
)
def test_options_that_a_packs_report_does_not_know_are_refused(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    data = MARKET / "demo" / "bars.parquet"
    done = invoke("evaluate", data, "--bundle", MARKET / "bundle", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert f"{options[0]} must go with a pack that has no report of its own" in error_line(done)


@pytest.mark.parametrize(
    ("pack", "file", "other", "lacks"),
    [
        (CREDIT, "statements.parquet", "market", "q01"),
        (MARKET, "bars.parquet", "credit", "expected_loss"),
    ],
)
def test_a_report_of_outputs_that_a_bundle_lacks_is_refused(
    pack: Path, file: str, other: str, lacks: str, tmp_path: Path
) -> None:
    options = ("--bundle", pack / "bundle", "--pack", other)
    done = invoke("evaluate", pack / "demo" / file, *options, cwd=tmp_path)
    assert done.returncode == 2
    assert f"however: {lacks} is none of" in error_line(done)


def test_a_terminal_says_where_the_report_is_and_shows_no_empty_section(tmp_path: Path) -> None:
    options = ("--from", "2020-01-01", "--report", "market.html")
    shown = evaluate(MARKET, "bars.parquet", *options, cwd=tmp_path)
    assert "market.html: the report, 2,500 events" in shown
    assert "Quantiles and returns" not in shown
    page = ReadPage((tmp_path / "market.html").read_text(encoding="utf-8"))
    assert "Quantiles and returns" in page.headings
    assert "--report report.html writes all of it" in evaluate(MARKET, "bars.parquet", cwd=tmp_path)


def test_bars_without_a_return_of_a_day_are_not_judged(tmp_path: Path) -> None:
    bars = pq.read_table(MARKET / "demo" / "bars.parquet").to_pylist()
    mine = [each for each in bars if each["security"] == bars[0]["security"]][:100]
    judge = ("--bundle", MARKET / "bundle", "--json")
    write_bars(tmp_path / "whole.parquet", mine)
    whole = orjson.loads(invoke("evaluate", "whole.parquet", *judge, cwd=tmp_path).stdout)
    assert whole["by_security"][0]["days"] == 99

    late = {**mine[60], "bar_id": "again", "time": mine[60]["time"].replace("T21", "T22")}
    write_bars(tmp_path / "late.parquet", [*mine, {**late, "close": 2 * late["close"]}])
    found = orjson.loads(invoke("evaluate", "late.parquet", *judge, cwd=tmp_path).stdout)
    assert found["by_security"][0]["days"] == 99

    write_bars(tmp_path / "gap.parquet", [*mine[:40], *mine[70:]])
    found = orjson.loads(invoke("evaluate", "gap.parquet", *judge, cwd=tmp_path).stdout)
    assert found["by_security"][0]["days"] == 39 + 29


def write_bars(file: Path, bars: list[dict[str, object]]) -> None:
    pq.write_table(pa.Table.from_pylist(bars), file)
