"""The histories of a report: the table of changes, the plots that show them, and their section."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness import units
from harness.report import markup
from harness.report.charts.history import draw_history
from harness.report.display import Cell, DisplayRow, DisplayTable
from harness.report.figures import unique_names
from harness.report.history import FEWEST, Change, History
from harness.report.house_style import house_style, save_figure
from harness.report.markup import element
from harness.report.table import Results
from harness.report.work import machine_line

MOST_PLOTS: Final = 12
TITLE: Final = "Changes over the history"


@dataclass(frozen=True)
class SavedHistory:
    """A history's plot in its files."""

    history: History
    caption: str
    png: Path
    pdf: Path


def changes_table(found: Iterable[History]) -> DisplayTable:
    """Return all changes, the largest first."""
    changes = [change for history in found for change in history.changes]
    changes.sort(key=_size, reverse=True)
    return DisplayTable(
        title=TITLE,
        subtitle="levels before and after the first commit with the new one; above 1 is slower; "
        "one commit alone may be an outlier",
        columns=("case", "commit", "date", "before", "after", "ratio", "commits since"),
        rows=tuple(map(_row, changes)),
        words=3,
    )


def files(
    found: Sequence[History], results: Results, folder: Path, most: int = MOST_PLOTS
) -> list[SavedHistory]:
    """Return the histories that are drawn, the largest changes first, with their files.

    Args:
        found: all histories.
        results: what they were made of.
        folder: where to.
        most: how many are drawn at most.
    """
    drawn = sorted(found, key=lambda item: -max(map(_size, item.changes), default=0.0))[:most]
    names = unique_names(f"history_{item.case}" for item in drawn)
    return [
        SavedHistory(item, _caption(item, results), folder / f"{name}.png", folder / f"{name}.pdf")
        for item, name in zip(drawn, names, strict=True)
    ]


def write(saved: SavedHistory) -> None:
    """Draw a history into its files."""
    history = saved.history
    label = "Time" if history.unit == "seconds" else "Value"
    with house_style():
        figure = draw_history(
            history.points,
            history.steps,
            title=history.case,
            caption=saved.caption,
            unit=history.unit,
            label=label,
        )
        save_figure(figure, saved.png, saved.pdf)


def html(found: Sequence[History], saved: Sequence[SavedHistory]) -> str:
    """Return the page's section: the table of changes, then the plots."""
    table = changes_table(found)
    parts = [element("h3", TITLE)]
    if table.rows:
        parts += [element("p", table.subtitle, class_="note"), markup.table(table)]
    else:
        text = f"No case changed; steps are looked for over {FEWEST} commits and more."
        parts.append(element("p", text, class_="note"))
    parts.append(f'<div class="gallery">{"".join(map(_figure, saved))}</div>')
    left = len(found) - len(saved)
    if left:
        parts.append(element("p", f"Not drawn: {units.count(left, 'more case')}.", class_="note"))
    return "".join(parts)


def summary_line(found: Sequence[History]) -> str:
    """Return how many cases changed and how many are slower than they were, in one line."""
    commits = len({point.commit for history in found for point in history.points})
    changes = sum(len(history.changes) for history in found)
    slower = sum(history.slower_than_best is not None for history in found)
    where = f"{units.count(len(found), 'case')} over {units.count(commits, 'commit')}"
    return f"{where}: {units.count(changes, 'change')}; {slower} slower now than at their best"


def _row(change: Change) -> DisplayRow:
    cells = (
        Cell(change.case),
        Cell(change.commit[:10]),
        Cell(change.date[:10]),
        Cell(units.quantity(change.before, change.unit), change.before),
        Cell(units.quantity(change.after, change.unit), change.after),
        Cell(units.digits(change.ratio), change.ratio),
        Cell(str(change.commits), float(change.commits)),
    )
    return DisplayRow(cells)


def _size(change: Change) -> float:
    """Return how far a change is from none, in either direction."""
    return abs(math.log(change.ratio)) if 0 < change.ratio < math.inf else math.inf


def _caption(history: History, results: Results) -> str:
    runs = [run for run in results.runs if results.settings[run.run] == history.setting]
    return f"Machine {machine_line(runs)}."


def _figure(saved: SavedHistory) -> str:
    image = markup.image(saved.png, f"History of {saved.history.case}. {saved.caption}")
    return f"<figure>{image}{element('figcaption', f'figures/{saved.pdf.name}')}</figure>"
