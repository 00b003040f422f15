"""Figures for a page: drawn by Matplotlib, written as SVG in the page's own colours and font.

    svg = draw(lambda axes: axes.plot(recall, precision, color=SERIES[0]))

Colours are names that the page's style gives a value, so that a figure is readable on light and on
dark. Nothing of a figure depends on the machine or the time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256
from io import StringIO
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: The colours of series, in the order in which they are to be used, and of what is less important.
SERIES = ("#010101", "#010102", "#010103", "#010104")
SOFT, LINE, INK = "#010110", "#010111", "#010112"

_COLOURS = {
    **{colour: f"var(--series-{at})" for at, colour in enumerate(SERIES, 1)},
    **{SOFT: "var(--soft)", LINE: "var(--line)", INK: "var(--ink)"},
}

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "riskstream",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.0,
    "axes.titlepad": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
    "text.color": INK,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "legend.labelcolor": INK,
    "figure.constrained_layout.use": True,
}


def draw(plot: Callable[[Axes], object], width: float = 5.6, height: float = 3.7) -> str:
    """Draw one figure, and return it as an ``<svg>`` element.

    Args:
        plot: draws on the axes it is given, in the colours ``SERIES``, ``SOFT``, ``LINE``, ``INK``.
        width, height: in inches; a page scales a figure to the width that it has.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height))
        plot(figure.add_subplot())
        written = StringIO()
        figure.savefig(
            written,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    return _for_a_page(written.getvalue())


def _for_a_page(svg: str) -> str:
    """Return an SVG file as an element of a page that may hold several."""
    svg = svg[svg.index("<svg") :].strip()
    useless = r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->"
    svg = re.sub(useless, "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    for colour, name in _COLOURS.items():
        svg = svg.replace(colour, name)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    return _with_own_ids(re.sub(r"\n\s*\n", "\n", svg))


def _with_own_ids(svg: str) -> str:
    """Return it with only those ids that it refers to, under names that no other figure has."""
    own = sha256(svg.encode()).hexdigest()[:8]
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    svg = re.sub(
        r' id="([^"]*)"', lambda found: f' id="{own}-{found[1]}"' if found[1] in used else "", svg
    )
    return re.sub(r'(url\(|href=")#', rf"\1#{own}-", svg)
