"""Checks that a section's figures can be drawn from what its comparisons measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import InputError, nearest
from harness.experiments.sections import Section
from harness.figure_spec import FigureSpec


def check_figures(section: Section, parameters: Mapping[str, Sequence[str]], where: str) -> None:
    """Raise unless each figure is of one measured benchmark, and its axes are parameters of it.

    Args:
        section: whose figures are checked.
        parameters: those of each comparison, by its name.
        where: what messages begin with.

    Raises:
        InputError: the text names the figure, the key, and the nearest name that exists.
    """
    known = {item.benchmark: parameters[item.name] for item in section.comparisons}
    for figure in section.figures:
        begin = f"{where}: figures.{figure.name}"
        if figure.benchmark is None and len(known) > 1:
            raise InputError(
                f"{begin}: key 'benchmark' is missing: the section measures {', '.join(known)}"
            )
        benchmark = next(iter(known)) if figure.benchmark is None else figure.benchmark
        if benchmark not in known:
            raise InputError(
                f"{begin}.benchmark = {benchmark!r}: the section does not measure it"
                f"{nearest(benchmark, known)}"
            )
        for key, name in _axes(figure):
            if name not in known[benchmark]:
                raise InputError(
                    f"{begin}.{key}: {benchmark} has no parameter {name!r}"
                    f"{nearest(name, known[benchmark])}"
                )


def _axes(figure: FigureSpec) -> list[tuple[str, str]]:
    """Return key and parameter where a figure names one; some have a quantity for their ``x``."""
    keys = ("y", "series", "panel") if figure.x_is_quantity else ("x", "y", "series", "panel")
    named = [(key, getattr(figure, key)) for key in keys]
    selected = [(f"select.{name}", name) for name in figure.select]
    return [(key, name) for key, name in named if name is not None] + selected
