"""How figures look: sizes, fonts, colours and hatches, legible in print and without colour."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

COLUMN: Final = 3.4
"""Width in inches of one column of a two-column paper."""
PAGE: Final = 7.0
"""Width in inches over both columns."""
ROW: Final = 0.165
"""Height in inches of one bar with its gap: a line of text at `FONT` fits."""
FAMILY: Final = "DejaVu Sans"
"""Comes with matplotlib, so a figure looks alike everywhere."""
FONT: Final = 7.0
"""Points; nothing in a figure is smaller."""
LINE: Final = 0.13
"""Height in inches of a line of text at `FONT`."""
EDGE: Final = 0.06
"""Inches kept free at the left and the right."""
TITLE: Final = 0.04 + 2.5 * LINE
"""Inches that `add_title` needs."""
DPI: Final = 220

# Okabe and Ito, "Color Universal Design" (2008): distinct to all common kinds of colour vision.
ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
GREEN: Final = "#009E73"
YELLOW: Final = "#F0E442"
BLUE: Final = "#0072B2"
VERMILLION: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
BLACK: Final = "#000000"
GREY: Final = "#595959"
"""For secondary text: 7 to 1 against white."""

OURS: Final = VERMILLION
PEER: Final = SKY
SERIES: Final = (BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW, BLACK)
LINES: Final = (BLUE, GREEN, ORANGE, PURPLE, SKY, BLACK)
"""Without yellow: a thin yellow line on white is lost."""
HATCHES: Final = ("", "////", "....", "xxxx", "\\\\\\\\", "++++", "oo")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
DASHES: Final = ((), (4, 1.5), (1.5, 1.5), (6, 1.5, 1.5, 1.5), (3, 1), (1, 1), (5, 3))

_SETTINGS: Final[Any] = {
    "font.family": FAMILY,
    "font.size": FONT,
    "axes.titlesize": FONT + 1,
    "axes.labelsize": FONT,
    "xtick.labelsize": FONT,
    "ytick.labelsize": FONT,
    "legend.fontsize": FONT,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,  # text in the PDF stays text, which publishers ask for
    "svg.fonttype": "path",
    "legend.frameon": False,
    "text.parse_math": False,  # a parameter may hold a dollar sign
}


@contextlib.contextmanager
def house_style() -> Iterator[None]:
    """Apply the style to figures made and saved inside; nothing of it stays."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of that size in inches that belongs to no global state."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, png: Path, pdf: Path) -> None:
    """Write a figure in both forms; call it inside `house_style`."""
    figure.savefig(png, dpi=DPI)
    # Without a date in it, equal results give equal files.
    figure.savefig(pdf, metadata={"CreationDate": None})


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes whose box is given in inches from the figure's left and upper edge."""
    total_width, total_height = figure.get_size_inches()
    return figure.add_axes(
        (
            left / total_width,
            1 - (top + height) / total_height,
            width / total_width,
            height / total_height,
        )
    )


def text_at(figure: Figure, left: float, top: float, text: str, **style: Any) -> None:
    """Write text whose upper left corner is given in inches from the figure's upper left."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, text, va="top", **style)


def caption_height(caption: str, width: float) -> float:
    """Return the inches that `add_caption` needs."""
    return LINE * len(wrapped(caption, width)) + 0.12


def add_caption(figure: Figure, caption: str) -> None:
    """Write the caption at the bottom, over the whole width."""
    width, height = figure.get_size_inches()
    lines = wrapped(caption, width)
    top = height - LINE * len(lines) - 0.04
    text_at(figure, EDGE, top, "\n".join(lines), color=GREY, linespacing=1.25)


def add_title(figure: Figure, title: str, subtitle: str) -> None:
    """Write what was measured, and below it the parameters that all of the figure shares."""
    width, _ = figure.get_size_inches()
    inside = width - 2 * EDGE
    text_at(figure, EDGE, 0.04, shortened(title, inside / 1.3), weight="bold", size=FONT + 1)
    text_at(figure, EDGE, 0.04 + 1.3 * LINE, shortened(subtitle, inside), color=GREY)


def wrapped(text: str, width: float) -> list[str]:
    """Break a text into lines that fit ``width`` inches at `FONT`."""
    lines: list[str] = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and text_width(longer) > width - 2 * EDGE:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def shortened(text: str, width: float) -> str:
    """Return ``text``, or its beginning with an ellipsis, so that it fits ``width`` inches."""
    if text_width(text) <= width:
        return text
    fitting = (text[:end].rstrip() + "…" for end in range(len(text) - 1, 0, -1))
    return next((short for short in fitting if text_width(short) <= width), "…")


@functools.lru_cache(maxsize=4096)
def text_width(text: str, *, bold: bool = False) -> float:
    """Return the inches that a text takes at `FONT`."""
    font = FontProperties(family=FAMILY, size=FONT, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72
