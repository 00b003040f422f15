"""Documents for people: one page of sections, as HTML of one file and as Markdown."""

from models.report.page import Column, Figure, Page, Section, Table
from models.report.values import Cell, Kind, shown

__all__ = ["Cell", "Column", "Figure", "Kind", "Page", "Section", "Table", "shown"]
