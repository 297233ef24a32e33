"""Builds a report's folder: figures, tables, CSV, Markdown and the page."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pandas as pd

from harness.report import charts, figures, history_page, tables
from harness.report.analysis import Analysis, not_measured
from harness.report.charts import export, gallery
from harness.report.display import DisplayTable, display_table
from harness.report.drawing import draw_all
from harness.report.history import histories
from harness.report.page import page
from harness.report.publish import publish
from harness.report.published import FOLDER
from harness.report.table import OBJECTS
from harness.units import count

PAGE: Final = "index.html"
MOST_FIGURES: Final = 24


@dataclass(frozen=True)
class Report:
    """What was built."""

    folder: Path
    page: Path
    files: tuple[Path, ...]
    not_drawn: int
    """Figures beyond the most that were asked for."""
    notes: tuple[str, ...] = ()
    """Figures that are declared and were refused, and why."""


def build(
    analysis: Analysis,
    folder: Path,
    *,
    most_figures: int = MOST_FIGURES,
    processes: int = 1,
    published: Path = FOLDER,
) -> Report:
    """Build a report; an earlier one in the same folder is replaced, other files stay.

    Args:
        analysis: what to report.
        folder: where to; it is made if need be.
        most_figures: how many figures to draw, the most telling ones first, beside the declared.
        processes: how many draw; see `draw_all` on what more than one needs.
        published: where the published figures are that runs name.

    Raises:
        InputError: the folder cannot be written, or holds a file that is no report's and would be
            overwritten.
    """
    shown = [display_table(work) for work in analysis.works]
    declared = charts.declared(analysis.results)
    quoted = charts.published_charts(analysis.results, published)
    past = histories(analysis.results)
    planned = figures.plots(analysis.works)
    drawn = planned[:most_figures]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=folder) as name:
        staging = Path(name)
        _write_tables(analysis, shown, staging)
        (staging / "figures").mkdir()
        own = gallery.with_files([*declared, *quoted], staging / "figures")
        saved = [figures.files(plot, staging / "figures") for plot in drawn]
        own_tasks = [partial(export.write, item.saved) for item in own if item.saved is not None]
        most = min(most_figures, history_page.MOST_PLOTS)
        traced = history_page.files(past, analysis.results, staging / "figures", most)
        own_tasks += [partial(history_page.write, item) for item in traced]
        draw_all([*own_tasks, *(partial(figures.write, item) for item in saved)], processes)
        left = len(planned) - len(drawn)
        parts = {"experiment": own[: len(declared)], "published": own[len(declared) :]}
        further = {name: gallery.html(part) for name, part in parts.items() if part}
        further |= {"history": history_page.html(past, traced)} if past else {}
        (staging / PAGE).write_text(page(analysis, shown, saved, left, further), encoding="utf-8")
        files = publish(staging, folder)
    return Report(folder, folder / PAGE, files, left, tuple(gallery.refusals([*declared, *quoted])))


def _write_tables(analysis: Analysis, shown: Sequence[DisplayTable], folder: Path) -> None:
    (folder / "tables").mkdir()
    names = figures.unique_names(table.title for table in shown)
    for name, table in zip(names, shown, strict=True):
        (folder / "tables" / f"{name}.tex").write_text(tables.latex(table), encoding="utf-8")
    (folder / "report.md").write_text(_markdown(analysis, shown), encoding="utf-8")
    _flat(analysis.results.samples).to_csv(folder / "samples.csv", index=False)
    _flat(analysis.cases).to_csv(folder / "cases.csv", index=False)


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with its mappings as JSON."""
    columns = [name for name in OBJECTS if name in table]
    text = {
        name: table[name].map(lambda value: json.dumps(value) if value else "") for name in columns
    }
    flat: pd.DataFrame = table.assign(**text)
    return flat


def _markdown(analysis: Analysis, shown: Sequence[DisplayTable]) -> str:
    warnings = [f"* {line}" for line in analysis.warnings]
    left_out = [
        f"* {row['status']}, {count(row['n'], 'sample')}: {row['reason'] or 'no reason stated'}"
        for _, row in not_measured(analysis.results.samples).iterrows()
    ]
    parts = ["## Results", *(tables.markdown(table) for table in shown)]
    parts += ["## Before believing them", "\n".join(warnings)] if warnings else []
    parts += ["## Not measured", "\n".join(left_out)] if left_out else []
    return "\n\n".join(parts) + "\n"
