"""The published figures of a report: those that were loaded, and those that runs ask for."""

from __future__ import annotations

from pathlib import Path

from harness.errors import InputError
from harness.report.charts.declared import Declared, declared
from harness.report.charts.kinds import plan
from harness.report.published import FOLDER, load_published
from harness.report.table import Results


def published_charts(results: Results, folder: Path = FOLDER) -> list[Declared]:
    """Return the published figures that stand beside those of the results, each once.

    Args:
        results: some of its runs may be published figures, others name such by ``published``.
        folder: where the papers' folders are, for the named ones.
    """
    loaded = declared(results, quoted=True)
    known = {f"{item.section}/{item.name}" for item in loaded}
    names = dict.fromkeys(
        str(name) for run in results.runs for name in run.chosen.get("published") or ()
    )
    return [*loaded, *(_named(name, folder) for name in names if name not in known)]


def _named(name: str, folder: Path) -> Declared:
    """Return a figure by its name, or why it cannot be drawn."""
    home, _, figure = name.partition("/")
    try:
        spec, results = load_published(name, folder)
        return Declared(home, results.runs[0].chosen["title"], figure, plan(spec, results))
    except InputError as error:
        return Declared(home, home, figure, None, str(error))
