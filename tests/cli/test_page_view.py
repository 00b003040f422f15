"""A report's page in a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from models.report import Column, Kind, Page, Table
from riskstream.page_view import print_page

PAGE = (
    Page("Title", "and [more]", {"fact": "value"})
    .section("First", text="Some text.", tiles=[("of it", "12 %")], points=["a point"])
    .section(
        "Second",
        table=Table(
            ("name", Column("number of events", Kind.COUNT, is_detail=True), ("share", "share")),
            [("one [two]", 12_345, 0.5), ("three", None, None)],
        ),
    )
    .section("Third", text="Left out.")
)


def shown(width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_page(PAGE, console, without=("Third",))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_page_is_printed_with_its_tables_aligned() -> None:
    lines = shown(60)
    assert lines[:2] == ["Title, and [more]", "fact  value"]
    for each in ("First", "Some text.", "12 %  of it", "  • a point"):
        assert each in lines
    at = lines.index("Second")
    assert lines[at + 1 : at + 4] == [
        "name       number of events   share",
        "one [two]            12,345  50.0 %",
        "three                     –       –",
    ]
    assert "Left out." not in lines


def test_details_are_left_out_of_a_narrow_terminal() -> None:
    lines = shown(24)
    assert "number" not in " ".join(lines)
    assert "one [two]  50.0 %" in lines
