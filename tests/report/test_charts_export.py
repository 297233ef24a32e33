from __future__ import annotations

import csv
from pathlib import Path

import pytest
from chart_builders import BARS, KINDS, results_of, searches

from harness.report.charts import plan, save
from harness.report.charts.export import SavedChart
from harness.report.table import Results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return results_of(tmp_path_factory.mktemp("export"), searches())


@pytest.fixture(scope="module")
def bars(results: Results, tmp_path_factory: pytest.TempPathFactory) -> SavedChart:
    return save(plan(BARS, results), tmp_path_factory.mktemp("files"), "fig")


def test_the_csv_holds_the_drawn_numbers_under_the_parameters_names(bars: SavedChart) -> None:
    with bars.csv.open() as file:
        rows = list(csv.DictReader(file))

    assert len(rows) == 3 * 2 * 3
    row = next(row for row in rows if (row["items"], row["engine"]) == ("2000", "alsatian"))
    assert row["model"] == "resnet18"
    assert float(row["median"]) == pytest.approx(16 / 6.72)
    assert float(row["high"]) - float(row["median"]) == pytest.approx(0.075)
    assert float(row["speed_up"]) == pytest.approx(6.72)
    assert (row["n"], row["unit"]) == ("6", "seconds")


def test_the_tables_hold_them_as_people_read_them(bars: SavedChart) -> None:
    markdown, latex = bars.markdown.read_text(), bars.latex.read_text()

    assert "| Items | resnet18 | SHiFT | 6 | " not in markdown
    assert "| 2000 | resnet18 | SHiFT | 6 | 12.8 | 12.7 | 12.9 | 1.2x |" in markdown
    assert r"2000 & resnet18 & SHiFT & 6 & 12.8 & 12.7 & 12.9 & 1.2x \\" in latex
    assert r"\toprule" in latex


def test_figures_are_png_and_pdf_with_real_fonts(bars: SavedChart) -> None:
    assert bars.png.read_bytes().startswith(b"\x89PNG")
    pdf = bars.pdf.read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf


@pytest.mark.parametrize("kind", KINDS)
def test_equal_results_give_equal_files(results: Results, tmp_path: Path, kind: str) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        save(plan(KINDS[kind], results), folder, "fig")

    one, two = (
        {path.name: path.read_bytes() for path in sorted(folder.iterdir())} for folder in folders
    )
    assert sorted(one) == ["fig.csv", "fig.md", "fig.pdf", "fig.png", "fig.tex"]
    assert one == two
