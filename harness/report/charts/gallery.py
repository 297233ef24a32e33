"""The declared figures in a report's folder and on its page; a refusal stands in its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.report import markup
from harness.report.charts.declared import Declared
from harness.report.charts.export import SavedChart, display, files
from harness.report.figures import unique_names
from harness.report.markup import element


@dataclass(frozen=True)
class Shown:
    """A declared figure, saved or refused."""

    declared: Declared
    saved: SavedChart | None


def with_files(figures: Sequence[Declared], folder: Path) -> list[Shown]:
    """Return figures with their files, called after section and figure; none for a refusal."""
    names = iter(
        unique_names(f"{item.section}_{item.name}" for item in figures if item.chart is not None)
    )
    return [
        Shown(item, None if item.chart is None else files(item.chart, folder, next(names)))
        for item in figures
    ]


def refusals(figures: Iterable[Declared]) -> list[str]:
    """Return why figures are not drawn, one line each."""
    return [f"{item.section}: {item.reason}" for item in figures if item.reason]


def html(figures: Sequence[Shown]) -> str:
    """Return the page's section with all figures, a gallery for each section of experiments."""
    by_section: dict[tuple[str, str], list[Shown]] = {}
    for shown in figures:
        by_section.setdefault((shown.declared.section, shown.declared.title), []).append(shown)
    parts = []
    for (section, title), group in by_section.items():
        parts.append(element("h3", section))
        if title != section:
            parts.append(element("p", title, class_="note"))
        parts.append(f'<div class="gallery">{"".join(map(_figure, group))}</div>')
    return "".join(parts)


def _figure(shown: Shown) -> str:
    if shown.saved is None:
        return element("p", f"Not drawn: {shown.declared.reason}", class_="refused")
    chart = shown.saved.chart
    image = markup.image(shown.saved.png, f"{chart.title}. {chart.caption}")
    names = f"figures/{shown.saved.pdf.name}, and its numbers: .csv, .md, .tex"
    table = markup.table(display(chart)) if chart.on_page else ""
    return f"<figure>{image}{element('figcaption', names)}{table}</figure>"
