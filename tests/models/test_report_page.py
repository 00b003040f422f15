"""The frame of reports: pages, tables, figures."""

from __future__ import annotations

import subprocess
import sys

import pytest

from models.report import Column, Figure, Kind, Page, Table, shown
from tests.html import ReadPage

pytest.importorskip("matplotlib")

TABLE = Table(
    ("who", Column("events", Kind.COUNT), ("rate", "share")),
    [("a|b", 12_345, 0.0123), ("<c>", None, float("nan"))],
    "A caption.",
)


def picture(colour: int = 0) -> Figure:
    from models.report.figures import SERIES, draw

    def plot(axes: object) -> None:
        axes.plot([0, 1], [1, 0], color=SERIES[colour], label="one <&> two")  # type: ignore[attr-defined]
        axes.legend()  # type: ignore[attr-defined]

    return Figure(draw(plot), alt="A line that falls.", caption="What it means.")


def page() -> Page:
    return (
        Page("A <title>", "and more", {"bundle": "abc"}, footer="The end.")
        .section("First part", text=("One.", "Two & three."), tiles=[("measure", "0.99")])
        .section("Second", table=TABLE, points=("a point", "another"))
        .section("Third", figure=[picture(0), picture(1)])
    )


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (1_234_567, Kind.COUNT, "1,234,567"),
        (0.00123, Kind.SHARE, "0.12 %"),
        (0.1234, Kind.SHARE, "12.3 %"),
        (0, Kind.SHARE, "0 %"),
        (-1_234.5, Kind.MONEY, "−1,234"),
        (9.5, Kind.MONEY, "9.50"),
        (0.87654321, Kind.SCORE, "0.8765"),
        (12.3456, Kind.NUMBER, "12.3"),
        (0.00012346, Kind.NUMBER, "0.000123"),
        (123_456.7, Kind.NUMBER, "123,457"),
        (0, Kind.NUMBER, "0"),
        (1_533_722_523_000, Kind.DATE, "2018-08-08"),
        (1_533_722_523_000, Kind.TIME, "2018-08-08 10:02:03"),
        ("as-it-is", Kind.COUNT, "as-it-is"),
        (None, Kind.MONEY, "–"),
        (float("nan"), Kind.COUNT, "–"),
        (float("inf"), Kind.NUMBER, "–"),
    ],
)
def test_values_are_written_for_people(value: object, kind: Kind, text: str) -> None:
    assert shown(value, kind) == text  # type: ignore[arg-type]


def test_a_page_is_well_formed_and_stands_alone() -> None:
    read = ReadPage(page().html())
    assert read.faults == []
    assert read.headings == ["First part", "Second", "Third"]
    assert read.tags["svg"] == 2
    for each in ("A <title>", "Two & three.", "a|b", "12,345", "1.23 %", "<c>", "one <&> two"):
        assert each in read.text


def test_a_page_is_the_same_each_time() -> None:
    assert page().html() == page().html()


def test_figures_take_the_colours_of_the_page() -> None:
    svg = picture().svg
    assert "var(--series-1)" in svg
    assert "#0101" not in svg
    assert "font-family" not in svg


def test_markdown_holds_what_the_page_holds_but_its_figures() -> None:
    text = page().markdown()
    assert text.startswith("# A <title>\n\nand more\n\n- **bundle**: abc\n\n## First part\n\nOne.")
    assert "| who | events | rate |\n| --- | ---: | ---: |\n| a\\|b | 12,345 | 1.23 % |" in text
    assert "svg" not in text


def test_details_are_left_out_where_there_is_no_room() -> None:
    table = Table(("a", Column("b", Kind.COUNT, is_detail=True), "c"), [("x", 1, "y")], "Said.")
    small = table.without_details()
    assert ([each.title for each in small.columns], small.cells) == (["a", "c"], [["x", "y"]])
    assert small.caption == "Said."


def test_a_row_must_fit_its_columns() -> None:
    with pytest.raises(ValueError, match="must have 2 values, however: 1"):
        Table(("a", "b"), [("only one",)])


def test_the_frame_needs_neither_jinja_nor_matplotlib_until_it_is_used() -> None:
    heavy = "{'jinja2', 'matplotlib'}"
    code = f"import sys, models.report; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run((sys.executable, "-c", code), check=False).returncode == 0
