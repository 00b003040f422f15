"""A report's page in a terminal."""

from __future__ import annotations

from collections.abc import Collection

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from models.report import Page, Section, Table


def print_page(page: Page, console: Console, without: Collection[str] = ()) -> None:
    """Print a page, without its figures.

    Args:
        page: what is printed.
        console: where to.
        without: the titles of sections that are left out.
    """
    console.print(Text.assemble((page.title, "bold"), ", ", page.subtitle))
    facts = RichTable.grid(padding=(0, 2))
    for name, value in page.facts.items():
        facts.add_row(Text(name, style="dim"), Text(value))
    console.print(facts)
    for section in page.sections:
        if section.title not in without:
            console.print()
            console.print(_section(section, console), soft_wrap=False)


def _section(section: Section, console: Console) -> RenderableType:
    parts: list[RenderableType] = [Text(section.title, style="bold cyan")]
    parts += [Text(each) for each in section.text]
    if section.tiles:
        tiles = RichTable.grid(padding=(0, 2))
        for name, value in section.tiles:
            tiles.add_row(Text(value, style="bold", justify="right"), Text(name))
        parts.append(tiles)
    parts += [Padding(Text(f"• {each}"), (0, 0, 0, 2)) for each in section.points]
    for at, table in enumerate(section.tables):
        if at:
            parts.append(Text())
        parts.append(table_view(table, console))
    return Group(*parts)


def table_view(table: Table, console: Console) -> RichTable:
    """Return a report's table for a terminal, without its details where they have no room."""
    full = _rich(table)
    unbounded = console.options.update(max_width=10_000)
    if Measurement.get(console, unbounded, full).maximum <= console.width:
        return full
    return _rich(table.without_details())


def _rich(table: Table) -> RichTable:
    view = RichTable(
        box=None, pad_edge=False, header_style="dim", caption_justify="left", padding=(0, 2, 0, 0)
    )
    for column in table.columns:
        view.add_column(Text(column.title), justify="right" if column.kind.is_number else "left")
    # Where there is little room titles wrap, and numbers do not.
    kept = [column.kind.is_number for column in table.columns]
    for row in table.cells:
        view.add_row(
            *(Text(each, no_wrap=is_kept) for each, is_kept in zip(row, kept, strict=True))
        )
    return view
