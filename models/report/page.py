"""A page of sections: text, tables, figures. Written as one HTML file, or as Markdown.

    page = Page("Report", "fraud-gru, version 2")
    page.section("Ranking", text="How well …", table=Table(("measure", "value"), rows))
    path.write_text(page.html(), encoding="utf-8")

The HTML needs nothing but itself: no script, no font, no image and no network. It follows the
reader's light or dark setting, and prints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

from models.report.values import Cell, Kind, shown

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATE = Path(__file__).with_name("page.html.jinja")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Args:
        title: its heading.
        kind: what its values are.
        is_detail: whether it is left out where there is little room, and written softly.
    """

    title: str
    kind: Kind = Kind.TEXT
    is_detail: bool = False

    @classmethod
    def of(cls, given: Column | str | tuple[str, str]) -> Column:
        """Return a column from itself, its title, or its title and kind."""
        if isinstance(given, Column):
            return given
        return cls(given) if isinstance(given, str) else cls(given[0], Kind(given[1]))


class Table:
    """Rows under columns.

    Args:
        columns: each a :class:`Column`, a title, or a title and a :class:`Kind` by its name.
        rows: as many values as there are columns, each. None is written as a dash.
        caption: a sentence under the table.

    Raises:
        ValueError: a row has not as many values as there are columns.
    """

    def __init__(
        self,
        columns: Sequence[Column | str | tuple[str, str]],
        rows: Sequence[Sequence[Cell]],
        caption: str = "",
    ) -> None:
        self.columns = tuple(map(Column.of, columns))
        self.rows = tuple(tuple(row) for row in rows)
        self.caption = caption
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"a row must have {len(self.columns)} values, however: {len(row)}: {row}"
                )

    def without_details(self) -> Table:
        """Return the table with those columns only that are no details."""
        kept = [at for at, column in enumerate(self.columns) if not column.is_detail]
        rows = [[row[at] for at in kept] for row in self.rows]
        return Table([self.columns[at] for at in kept], rows, self.caption)

    @property
    def cells(self) -> list[list[str]]:
        """The rows as they are written."""
        return [
            [shown(value, column.kind) for value, column in zip(row, self.columns, strict=True)]
            for row in self.rows
        ]


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture.

    Args:
        svg: an ``<svg>`` element; see :func:`models.report.figures.draw`.
        alt: what it shows, for those who cannot see it.
        caption: a sentence under it.
    """

    svg: str
    alt: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page; see :meth:`Page.section`."""

    title: str
    text: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    tiles: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()

    @property
    def anchor(self) -> str:
        """The name that a link to this section has."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(slots=True)
class Page:
    """A document.

    Args:
        title, subtitle: what stands on top.
        facts: name to value, beside the title: what the page is about and where it came from.
        footer: a sentence at the end.
    """

    title: str
    subtitle: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    footer: str = ""
    sections: list[Section] = field(default_factory=list)

    def section(
        self,
        title: str,
        *,
        text: str | Sequence[str] = (),
        points: Sequence[str] = (),
        tiles: Sequence[tuple[str, str]] = (),
        table: Table | Sequence[Table] = (),
        figure: Figure | Sequence[Figure] = (),
    ) -> Self:
        """Add a section, and return the page.

        Args:
            title: its heading.
            text: a paragraph, or several.
            points: the items of a list.
            tiles: the figures that matter most, each with its name, shown large.
            table, figure: one, or several.
        """
        paragraphs = (text,) if isinstance(text, str) else tuple(text)
        tables = (table,) if isinstance(table, Table) else tuple(table)
        figures = (figure,) if isinstance(figure, Figure) else tuple(figure)
        self.sections.append(
            Section(title, paragraphs, tuple(points), tuple(tiles), tables, figures)
        )
        return self

    def html(self) -> str:
        """Return the page as one HTML file. Needs Jinja, of the extra ``train``."""
        return _template().render(page=self)

    def markdown(self, level: int = 1) -> str:
        """Return the page as Markdown (GitHub's), without its figures.

        Args:
            level: of the title's heading; those of the sections are one below.
        """
        mark = "#" * level
        parts = [f"{mark} {self.title}", self.subtitle]
        if self.facts:
            parts.append(_bullets([f"**{name}**: {value}" for name, value in self.facts.items()]))
        for each in self.sections:
            parts += [f"{mark}# {each.title}", *each.text]
            parts.append(_bullets([f"{name}: **{value}**" for name, value in each.tiles]))
            parts.append(_bullets(each.points))
            parts += [_markdown_table(table) for table in each.tables]
        return "\n\n".join(part for part in (*parts, self.footer) if part) + "\n"


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _markdown_table(table: Table) -> str:
    lines = [
        [column.title for column in table.columns],
        ["---:" if column.kind.is_number else "---" for column in table.columns],
        *([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in table.cells),
    ]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{text}\n\n{table.caption}" if table.caption else text
