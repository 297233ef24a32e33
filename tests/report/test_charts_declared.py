from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from chart_builders import BARS, ONE_CASE, searches, spec
from click.testing import CliRunner
from report_builders import header, machine, write_run

from harness.commands.report import command
from harness.report.analysis import analyse
from harness.report.build import build
from harness.report.charts import declared
from harness.report.drawing import FEWEST, draw_all
from harness.report.load import load

MIXED = spec("grouped_bars", series="engine").model_copy(update={"name": "mixed"})


def write(folder: Path, *figures: Any, name: str = "a", **head: Any) -> Path:
    settings = {
        "title": "Search times",
        "figures": [item if isinstance(item, dict) else item.model_dump() for item in figures],
    }
    return write_run(
        folder / f"{name}.jsonl",
        searches(),
        header(name, section="search", settings=settings, **head),
    )


def test_figures_of_the_header_are_planned_from_its_samples(tmp_path: Path) -> None:
    (found,) = declared(load([write(tmp_path, BARS)]))

    assert (found.section, found.title, found.name) == ("search", "Search times", "fig")
    assert found.chart is not None
    assert len(found.chart.points) == 18


def test_labels_keep_their_order_through_the_file(tmp_path: Path) -> None:
    labels = {"shift": "SHiFT", "base": "Base", "alsatian": "Alsatian"}
    figure = BARS.model_copy(update={"labels": labels, "base": None})

    (found,) = declared(load([write(tmp_path, figure)]))

    assert found.chart is not None
    assert found.chart.values("series") == ("shift", "base", "alsatian")


def test_a_refusal_is_a_reason_and_the_other_figures_stay(tmp_path: Path) -> None:
    mixed, bars = declared(load([write(tmp_path, MIXED, BARS)]))

    assert mixed.chart is None
    assert "differ in model (resnet18, vit_l_32)" in mixed.reason
    assert bars.chart is not None


def test_a_figure_that_this_version_does_not_know_is_refused(tmp_path: Path) -> None:
    figure = {**BARS.model_dump(), "kind": "pie"}

    (found,) = declared(load([write(tmp_path, figure)]))

    assert found.reason.startswith("figure fig: kind: ")


def test_machines_that_differ_have_the_figure_each(tmp_path: Path) -> None:
    paths = [
        write(tmp_path, BARS, name="a"),
        write(tmp_path, BARS, name="b", machine=machine(kernel="6.1")),
    ]

    refused, first, second = declared(load(paths))
    (mixed,) = declared(load(paths, allow_different=True))

    assert "the samples differ in kernel (6.18.44, 6.1)" in refused.reason
    assert [item.chart.selection.runs[0].run for item in (first, second) if item.chart] == [
        "a",
        "b",
    ]
    assert mixed.chart is not None


def test_the_page_holds_figures_and_refusals_and_the_folder_all_files(tmp_path: Path) -> None:
    analysis = analyse(load([write(tmp_path, BARS, MIXED)]))

    report = build(analysis, tmp_path / "out", most_figures=1)

    page = report.page.read_text(encoding="utf-8")
    section = page.partition('<h2 id="experiment">')[2].partition("<h2")[0]
    assert section.startswith("The experiment&#x27;s figures") or "experiment's" in section
    assert section.count("<img ") == 1
    assert "Not drawn: figure mixed: the samples differ in model" in section
    assert page.index('id="experiment"') < page.index('id="figures"')
    names = {path.name for path in report.files if path.parent.name == "figures"}
    assert {f"search_fig.{end}" for end in ("pdf", "png", "csv", "md", "tex")} <= names
    assert "figures=" not in page.partition('id="again"')[2]
    assert report.notes == (f"search: {declared(analysis.results)[1].reason}",)


def test_the_command_prints_a_refusal_as_a_note(tmp_path: Path) -> None:
    path = write(tmp_path, MIXED)

    done = CliRunner().invoke(
        command, [str(path), "--out", str(tmp_path / "out"), "--figures", "0"]
    )

    assert done.exit_code == 0, done.output
    assert "note: search: figure mixed: the samples differ in model" in done.output
    assert done.output.splitlines()[-1] == str(tmp_path / "out" / "index.html")


def test_without_declared_figures_there_is_no_such_section(tmp_path: Path) -> None:
    report = build(analyse(load([write(tmp_path)])), tmp_path / "out", most_figures=0)

    assert "experiment" not in report.page.read_text(encoding="utf-8").partition("<h2")[0]
    assert report.notes == ()


def test_one_selected_case_is_named_below_the_title(tmp_path: Path) -> None:
    figure = spec("ecdf", series="engine", select=ONE_CASE)

    (found,) = declared(load([write(tmp_path, figure)]))

    assert found.chart is not None
    assert found.chart.subtitle == "model=resnet18, items=1000"


@pytest.mark.parametrize("processes", [1, 2])
def test_all_tasks_are_done_in_as_many_processes(tmp_path: Path, processes: int) -> None:
    paths = [tmp_path / str(number) for number in range(FEWEST)]

    draw_all([partial(Path.touch, path) for path in paths], processes)

    assert all(path.exists() for path in paths)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_task_that_fails_is_not_lost(tmp_path: Path, processes: int) -> None:
    tasks = [partial(Path.touch, tmp_path / "absent" / str(number)) for number in range(FEWEST)]

    with pytest.raises(FileNotFoundError):
        draw_all(tasks, processes)
