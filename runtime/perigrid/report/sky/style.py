"""What do all pictures of a sky share?

One size, one set of colours that people tell apart whatever their eyes (Okabe and Ito, jfly.uni-koeln.de/color), a
title with phasing and moment, and the assumptions in small print below. Figures are made without matplotlib's global
state, so that no window, font cache of a display or style of the user's has a part in them.
"""

from __future__ import annotations

import importlib
import textwrap
from pathlib import Path
from typing import Any

from perigrid.errors import MissingFile
from perigrid.report.sky.head import Head, assumption_lines, pattern_text
from perigrid.report.tables import cannot_write

SIZE_IN = (12.8, 7.6)
DOTS_AN_INCH = 125

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5D3A9B", "#000000")
"""Of groups, in order; further groups begin again."""

LASER, RADIO, STATION, FAINT, NO_WAY = "#D55E00", "#009E73", "#B00020", "#8a94a0", "#f3d3d8"

SMALL_PRINT_LETTERS = 290
"""Letters of a line of small print."""

SMALL_PRINT_LINES = 5
TITLE_PATTERNS = 3
"""A title names at most so many shells."""


def matplotlib(module: str = "matplotlib.figure") -> Any:
    """A part of matplotlib; MissingFile where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingFile(
            f"pictures need matplotlib, which is not installed here ({error}): pip install 'perigrid[plot]'."
        ) from error


def new_figure() -> Any:
    """An empty figure on a canvas of its own."""
    figure = matplotlib().Figure(figsize=SIZE_IN, dpi=DOTS_AN_INCH)
    matplotlib("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    figure.set_facecolor("white")
    return figure


def colour_of(number: int) -> str:
    """The colour of a group."""
    return COLOURS[number % len(COLOURS)]


def title(figure: Any, what: str, head: Head) -> None:
    """What the picture shows, and below it of which constellation, with phasing, and when."""
    figure.text(0.02, 0.965, what, fontsize=13, fontweight="bold", va="center")
    shown = [pattern_text(pattern) for pattern in head.patterns[:TITLE_PATTERNS]]
    if len(head.patterns) > TITLE_PATTERNS:
        shown.append(f"and {len(head.patterns) - TITLE_PATTERNS} more")
    rate = "" if head.orbit_rate == 1.0 else f"; in a run orbits turn {head.orbit_rate:g} times as fast"
    lines = textwrap.wrap(f"{'; '.join(shown)}{rate}", 170)[:2]
    figure.text(0.02, 0.94, "\n".join(lines), fontsize=8.5, va="top", color="#333333", linespacing=1.4)


def small_print(figure: Any, head: Head, extra: str = "") -> None:
    """Earth model, epoch and assumptions at the bottom."""
    assumed = "; ".join(line.partition(": ")[0] for line in assumption_lines(head))
    earth = head.earth[:1].upper() + head.earth[1:]
    text = f"Epoch {head.epoch_utc}. {earth}. {extra}{f'Assumed: {assumed}.' if assumed else ''}"
    lines = textwrap.wrap(text, SMALL_PRINT_LETTERS)
    if len(lines) > SMALL_PRINT_LINES:
        lines = [*lines[: SMALL_PRINT_LINES - 1], f"{lines[SMALL_PRINT_LINES - 1][:-20]} ... (perigrid sky show)"]
    figure.text(0.02, 0.012, "\n".join(lines), fontsize=6, color="#555555", va="bottom", linespacing=1.35)


def save(figure: Any, path: Path) -> None:
    """Write the figure as PNG; EnvironmentProblem where that is not possible."""
    try:
        # No date and no version in the file: the same sky makes the same bytes.
        figure.savefig(path, format="png", dpi=DOTS_AN_INCH, metadata={"Software": None})
    except OSError as error:
        raise cannot_write(path, "the picture", error) from error
