"""``riskstream data prepare``: what it writes, and what it says of a file that is another one."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from models.packs.hold_out import hold_out
from tests.cli.running import error_line, invoke
from tests.packs.fourth import write_loans, write_pack

pytest.importorskip("torch")

READS = """
import pyarrow.csv


def prepare(file, training):
    return pyarrow.csv.read_csv(file)
"""
FAILS = READS.replace("return", "1 / 0; return")


def plain_pack(folder: Path, code: str = READS) -> None:
    """A pack whose code has a function ``prepare`` alone."""
    write_pack(folder)
    (folder / "pack.py").write_text(code, encoding="utf-8")


@pytest.mark.parametrize("text", ["ID,LIMIT_BAL\n1,2\n", ""])
def test_a_file_that_the_pack_cannot_read_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    done = invoke("data", "prepare", "credit", "a.csv", "-o", "x.parquet", cwd=tmp_path)
    assert done.returncode == 2
    assert "`prepare` must take the file that it is given, however: a.csv: ArrowInvalid" in (
        error_line(done)
    )
    assert not (tmp_path / "x.parquet").exists()


def test_a_packs_own_prepare_that_fails_is_told(tmp_path: Path) -> None:
    plain_pack(tmp_path / "library", FAILS)
    (tmp_path / "raw.csv").write_text("loan,price\n1,2\n", encoding="utf-8")
    done = invoke("data", "prepare", "./library", "raw.csv", "-o", "x.parquet", cwd=tmp_path)
    assert done.returncode == 2
    assert "however: raw.csv: ZeroDivisionError" in error_line(done)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("-o", "x.csv"), "--out must end in .parquet, however: x.csv"),
        (("-o", "x.parquet", "--hold-out", "20"), "--hold-out must be a share above 0 and below 1"),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    plain_pack(tmp_path / "library")
    write_loans(tmp_path / "raw.csv", 10)
    done = invoke("data", "prepare", "./library", "raw.csv", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert told in error_line(done)
    assert not list(tmp_path.glob("x*"))


def test_accounts_that_are_held_out_are_in_a_file_of_their_own(tmp_path: Path) -> None:
    plain_pack(tmp_path / "library")
    write_loans(tmp_path / "raw.csv")
    options = ("-o", "loans.parquet", "--hold-out", "0.3", "--json")
    done = invoke("data", "prepare", "./library", "raw.csv", *options, cwd=tmp_path)
    told = orjson.loads(done.stdout)
    assert told["held_out"]["out"] == "loans-held-out.parquet"
    kept, held = (
        pq.read_table(tmp_path / name) for name in ("loans.parquet", "loans-held-out.parquet")
    )
    assert (kept.num_rows, held.num_rows) == (told["events"], told["held_out"]["events"])
    assert kept.num_rows + held.num_rows == 1_500
    readers = [set(each["reader"].to_pylist()) for each in (kept, held)]
    assert not readers[0] & readers[1]
    assert 0.15 < len(readers[1]) / 40 < 0.45


def test_clients_that_only_teach_go_with_their_own_and_are_never_held_out() -> None:
    import pyarrow as pa

    names = [f"{client}{kind}" for client in range(1_000) for kind in ("", "~short", "~gap")]
    kept, held = hold_out(pa.table({"client": names}), "client", 0.2)
    own = set(held["client"].to_pylist())
    assert 150 < len(own) < 250
    assert not any("~" in each for each in own)
    assert not own & {each.partition("~")[0] for each in kept["client"].to_pylist()}
