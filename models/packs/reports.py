"""What a pack's own report is made of, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.columns import Columns
from engine.errors import HistoryError
from engine.manifest import Manifest
from models.report import Figure, Page


class Outputs(dict[str, NDArray[np.float32]]):
    """A bundle's outputs by name.

    Raises:
        HistoryError: on reading one that the bundle does not have.
    """

    def __missing__(self, name: str) -> NDArray[np.float32]:
        raise HistoryError(
            f"a report must be of a bundle that has the outputs it reads, however: {name} is none "
            f"of {', '.join(self) or 'no outputs'}; leave out --pack, or name the bundle's pack"
        )


@dataclass(frozen=True, slots=True)
class ScoredHistory:
    """A history with its scores, ``n`` events in the order of time, repeats left out.

    Args:
        manifest: of the bundle.
        columns: the events.
        scores: float32 ``[n]``.
        outputs: the bundle's outputs by name, float32 ``[n]`` each; see :class:`Outputs`.
        decisions: places among the bundle's decisions, int64 ``[n]``.
        labels: 1, 0, or NaN for unknown, float32 ``[n]``; NaN throughout without labels.
        late: which events came late, and changed nothing of what is known, bool ``[n]``.
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
    late: NDArray[np.bool_]
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

    def without_figures(self) -> Page:
        """Return the page without the sections that hold nothing but a figure and its text."""
        kept = [
            each
            for each in self.page.sections
            if each.title not in self.drawings or each.points or each.tiles or each.tables
        ]
        return replace(self.page, sections=kept)

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
