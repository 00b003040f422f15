"""What a pack's own report is made of, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.columns import Columns
from engine.manifest import Manifest
from models.report import Figure, Page


@dataclass(frozen=True, slots=True)
class ScoredHistory:
    """A history with its scores, ``n`` events in the order of time, repeats left out.

    Args:
        manifest: of the bundle.
        columns: the events.
        scores: float32 ``[n]``.
        outputs: the bundle's outputs by name, float32 ``[n]`` each.
        decisions: places among the bundle's decisions, int64 ``[n]``.
        labels: 1, 0, or NaN for unknown, float32 ``[n]``; NaN throughout without labels.
        judged: which events are to be judged: those from ``--from`` on, bool ``[n]``.
        data: the name of the file.
        reasons: of events that are not approved, by their place: the names of the groups that
            pushed the score up, the strongest first.
    """

    manifest: Manifest
    columns: Columns
    scores: NDArray[np.float32]
    outputs: Mapping[str, NDArray[np.float32]]
    decisions: NDArray[np.int64]
    labels: NDArray[np.float32]
    judged: NDArray[np.bool_]
    data: str
    reasons: Mapping[int, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Report:
    """What a pack says of a scored history.

    Args:
        page: for people.
        figures: the same for machines, as JSON holds it.
        drawings: the titles of sections to the figures that an HTML page has there, made on call.
    """

    page: Page
    figures: Mapping[str, Any]
    drawings: Mapping[str, Callable[[], Sequence[Figure]]]

    def html(self) -> str:
        """Return the page with its figures as one HTML file. Needs Jinja and Matplotlib."""
        page = Page(self.page.title, self.page.subtitle, self.page.facts, self.page.footer)
        for each in self.page.sections:
            drawn = tuple(self.drawings[each.title]()) if each.title in self.drawings else ()
            page.section(
                each.title,
                text=each.text,
                points=each.points,
                tiles=each.tiles,
                table=each.tables,
                figure=drawn,
            )
        return page.html()
