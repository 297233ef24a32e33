from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from transfer_builders import LAYERS, SPACE, TIMELINE, searches, write_folder

from harness.report.analysis import analyse
from harness.report.build import Report, build
from harness.report.charts.timeline import MOST_STEPS
from harness.report.load import load
from harness.report.table import Results

LONG = 5000
SHORT = 40
FIGURES = {"accuracy": TIMELINE, "space": SPACE, "layers": LAYERS}


def reported(folder: Path, births: int) -> tuple[Results, Report]:
    """Write a run whose samples noted lists of so many numbers, load it and report it."""
    figures = [item.model_copy(update={"name": name}) for name, item in FIGURES.items()]
    results = load([write_folder(folder / "run", searches(births), *figures)])
    return results, build(analyse(results), folder / "out", most_figures=0)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Report]:
    return reported(tmp_path_factory.mktemp("short"), SHORT)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Report]:
    return reported(tmp_path_factory.mktemp("long"), LONG)


def test_lists_are_in_the_table_as_they_were_noted(long: tuple[Results, Report]) -> None:
    results, _ = long
    expected = {
        (record.params["method"], record.seed): dict(record.extra) for record in searches(LONG)
    }

    samples = results.samples
    found = zip(samples["param_method"], samples["seed"], samples["extra"], strict=True)
    assert {(method, int(seed)): extra for method, seed, extra in found} == expected


@pytest.mark.parametrize("which", ["short", "long"])
def test_the_csv_of_samples_gives_the_lists_back(
    which: str, request: pytest.FixtureRequest
) -> None:
    results, report = request.getfixturevalue(which)

    again = pd.read_csv(report.folder / "samples.csv")

    assert [json.loads(text) for text in again["extra"]] == results.samples["extra"].to_list()


def test_all_figures_are_drawn_and_the_page_has_the_times(short: tuple[Results, Report]) -> None:
    _, report = short
    page = report.page.read_text(encoding="utf-8")
    section = page.partition('<h2 id="experiment">')[2].partition("<h2")[0]

    assert report.notes == ()
    names = {path.name for path in report.files if path.parent.name == "figures"}
    assert {f"wt_{name}.{end}" for name in FIGURES for end in ("csv", "md", "pdf", "png")} <= names
    assert section.count("<img ") == 3
    assert section.count("<table") == 1
    assert "never" in section.partition("<table")[2].partition("</table>")[0]


def test_a_page_does_not_grow_with_the_lists(
    short: tuple[Results, Report], long: tuple[Results, Report]
) -> None:
    pages = [report.page.read_text(encoding="utf-8") for _, report in (short, long)]
    without = [page.partition("data:image")[0] for page in pages]

    assert len(without[0]) == len(without[1])
    assert all(len(page) < 1_000_000 for page in pages)
    rows = pd.read_csv(long[1].folder / "figures" / "wt_accuracy.csv")
    assert rows.groupby(["method", "line", "sample"], dropna=False).size().max() == MOST_STEPS
