from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from chart_builders import searches
from click.testing import CliRunner
from report_builders import header, write_run

from harness.commands.report import command
from harness.errors import InputError
from harness.report.analysis import analyse
from harness.report.build import build
from harness.report.charts import plan, published_charts
from harness.report.load import load
from harness.report.published import FOLDER, load_published, published_names
from harness.report.table import Results

CSV = """model,engine,phase,seconds,total_seconds,source
a,base,load,1,4,p. 1
a,base,run,3,4,p. 1
a,ours,load,0.5,1,p. 1
a,ours,run,0.5,1,p. 1
"""
TOML = """[paper]
short = "Toy"
title = "A toy"
authors = "Nobody"
venue = "Nowhere"
doi = "10.1/1"
cpu = "Abacus"

[labels]
base = "Base"

[[figures]]
file = "times.csv"
parameters = ["model", "engine"]
value = "total_seconds"
phases = { name = "phase", seconds = "seconds" }
unit = "seconds"
caption = "Fig. 1: single runs"

[figures.spec]
name = "fig1"
kind = "grouped_bars"
x = "model"
series = "engine"
base = "base"
"""


def write_set(folder: Path, toml: str = TOML, rows: str = CSV) -> Path:
    home = folder / "toy"
    home.mkdir()
    (home / "figures.toml").write_text(toml, encoding="utf-8")
    (home / "times.csv").write_text(rows, encoding="utf-8")
    return folder


def test_a_set_needs_nothing_but_its_folder(tmp_path: Path) -> None:
    spec, results = load_published("toy/fig1", write_set(tmp_path))

    chart = plan(spec, results)
    assert chart.points["median"].to_list() == [4.0, 1.0]
    assert chart.points["speed_up"].to_list() == [1.0, 4.0]
    assert results.samples["phases"].to_list() == [
        {"load": 1.0, "run": 3.0},
        {"load": 0.5, "run": 0.5},
    ]
    assert published_names(tmp_path) == ["toy/fig1"]


def test_a_label_of_the_figure_comes_before_the_shared_ones(tmp_path: Path) -> None:
    toml = TOML + '\n[figures.spec.labels]\nours = "Ours"\nbase = "First"\n'

    spec, _ = load_published("toy/fig1", write_set(tmp_path, toml))

    assert spec.labels == {"ours": "Ours", "base": "First"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[paper]", "[paper", "figures.toml: no valid TOML"),
        ('kind = "grouped_bars"', 'kind = "pie"', "figures.fig1.spec.kind = 'pie': input should"),
        ('unit = "seconds"', 'units = "seconds"', "'figures.fig1.units'; did you mean 'unit'?"),
        ('series = "engine"', 'seris = "engine"', "'figures.fig1.spec.seris'; did you mean"),
        ('cpu = "Abacus"', "", "key 'paper.cpu' is missing"),
        ('cpu = "Abacus"', "cpu = 7", "paper.cpu = 7: input should be a valid string"),
        ('value = "total_seconds"', 'value = "totl_seconds"', "did you mean 'total_seconds'?"),
        ('"model", "engine"]', '"model", "enigne"]', "figures.fig1.parameters: times.csv has no"),
        ('name = "phase"', 'name = "phas"', "figures.fig1.phases.name: times.csv has no column"),
        ('file = "times.csv"', 'file = "time.csv"', "time.csv cannot be read: No such file"),
        ('["model", "engine"]', '["model"]', "fig1: 4 rows of times.csv have model=a: name what"),
        ('unit = "s', 'where = { model = ["b"] }\nunit = "s', "fig1: where: no row of times.csv"),
    ],
)
def test_a_wrong_description_is_one_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert TOML.count(old) == 1
    folder = write_set(tmp_path, TOML.replace(old, new))

    with pytest.raises(InputError) as error:
        load_published("toy/fig1", folder)

    assert expected in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("a,base,run,3,4,p. 1", "a,base,run,3,4,", "times.csv:3: no source: say where"),
        ("a,base,run,3,4,p. 1", "a,base,run,3", "times.csv:3: has not as many cells"),
        ("a,base,run,3,4,p. 1", "a,base,run,3,4,p. 1,x", "times.csv:3: has not as many cells"),
        ("run,3,4", "run,three,4", "times.csv:3: seconds: found 'three', expected a number"),
        ("run,3,4", "run,inf,4", "times.csv:3: seconds: found 'inf', expected a number"),
        ("base,run", "base,load", "2 rows of times.csv have model=a, engine=base: name what"),
        ("run,3,4", "run,3,5", "2 rows of times.csv have model=a, engine=base: name what"),
        (CSV[CSV.index("a,base") :], "", "times.csv has no rows"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert CSV.count(old) == 1
    folder = write_set(tmp_path, rows=CSV.replace(old, new))

    with pytest.raises(InputError) as error:
        load_published("toy/fig1", folder)

    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_two_figures_of_one_name_are_refused(tmp_path: Path) -> None:
    folder = write_set(tmp_path, TOML + TOML[TOML.index("[[figures]]") :])

    with pytest.raises(InputError, match="figures: two are called 'fig1'"):
        published_names(folder)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"did you mean 'alsatian/fig1\d'\?"):
        load_published("alsatian/fig19")
    with pytest.raises(InputError, match="expected one of alsatian/fig05, "):
        load_published("nothing_of_the_kind")


def test_a_folder_without_published_results_says_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no published results; .* --published-dir"):
        published_names(tmp_path)


def test_numbers_of_several_columns_keep_their_kind(tmp_path: Path) -> None:
    rows = "n,share,mixed,seconds,source\n1,0.5,1,2,p. 1\n2,,x,3,p. 1\n"
    toml = TOML.replace('["model", "engine"]', '["n", "share", "mixed"]')
    toml = toml.replace('phases = { name = "phase", seconds = "seconds" }\n', "")
    toml = toml.replace('"total_seconds"', '"seconds"')

    _, results = load_published("toy/fig1", write_set(tmp_path, toml, rows))

    expected = [{"n": 1, "share": 0.5, "mixed": "1"}, {"n": 2, "mixed": "x"}]
    assert results.samples["params"].to_list() == expected


# Beside measured results.


def measured(folder: Path, *names: str) -> Path:
    head = header("a", section="search", settings={"published": list(names)})
    return write_run(folder / "a.jsonl", searches(), head)


def test_a_run_gets_the_published_figures_that_it_names_once(tmp_path: Path) -> None:
    run = measured(tmp_path, "toy/fig1", "toy/fig1")
    write_set(tmp_path)

    (named,) = published_charts(load([run]), tmp_path)
    (loaded,) = published_charts(load([run, tmp_path / "toy"]), tmp_path)

    assert named.chart is not None
    assert loaded.chart is not None
    assert (named.section, named.name) == (loaded.section, loaded.name) == ("toy", "fig1")
    assert named.title == loaded.title == "Nobody: A toy. Nowhere, doi 10.1/1"
    assert named.chart.points.equals(loaded.chart.points)
    assert named.chart.caption == loaded.chart.caption


def test_a_name_that_is_not_there_is_a_reason_not_an_abort(tmp_path: Path) -> None:
    write_set(tmp_path)

    (found,) = published_charts(load([measured(tmp_path, "toy/fig2")]), tmp_path)

    assert found.chart is None
    assert "did you mean 'toy/fig1'?" in found.reason


def test_published_numbers_never_mix_with_measured_ones(tmp_path: Path) -> None:
    results = load([measured(write_set(tmp_path)), tmp_path / "toy"], allow_different=True)

    by_runner = results.samples.groupby("runner")["setting"].unique()
    assert [list(names) for names in by_runner] == [["published: Toy"], ["amd-epyc-2c-vm"]]
    assert results.differences == {}


def test_published_numbers_are_not_judged(tmp_path: Path) -> None:
    def found(results: Results) -> tuple[list[str], set[str]]:
        analysis = analyse(results)
        return list(analysis.warnings), {work.benchmark for work in analysis.works}

    run = measured(write_set(tmp_path))

    assert found(load([run, tmp_path / "toy"])) == found(load([run]))


def test_the_page_has_them_in_a_section_of_their_own(tmp_path: Path) -> None:
    run = measured(tmp_path, "toy/fig1", "toy/fig2")
    write_set(tmp_path)

    results = load([run, tmp_path / "toy"])

    report = build(analyse(results), tmp_path / "out", most_figures=0, published=tmp_path)

    page = report.page.read_text(encoding="utf-8")
    assert "<h1>amd-epyc-2c-vm at 62589e8ee7</h1>" in page
    assert page.count("Published, for comparison</h2>") == 1
    assert "Nobody: A toy. Nowhere, doi 10.1/1" in page
    assert "Fig. 1: single runs" in page
    assert "there is no published figure &#x27;toy/fig2&#x27;" in page
    assert [path.name for path in report.files if path.parent.name == "figures"] == [
        f"toy_fig1.{ending}" for ending in ("csv", "md", "pdf", "png", "tex")
    ]
    assert ["there is no published figure 'toy/fig2'" in note for note in report.notes] == [True]


def test_the_command_draws_a_folder_of_published_figures(tmp_path: Path) -> None:
    home = write_set(tmp_path) / "toy"

    done = CliRunner().invoke(command, [str(home), "--out", str(tmp_path / "out")])

    assert done.exit_code == 0, done.output
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<h1>published: Toy</h1>" in page
    assert "Abacus" in page
    assert "Answers" not in page
    assert f"bench-core report {home}" in page
    assert (tmp_path / "out" / "figures" / "toy_fig1.pdf").exists()


def test_a_figure_of_the_run_may_be_called_as_a_published_one(tmp_path: Path) -> None:
    figure = {"name": "fig1", "kind": "ecdf", "series": "engine", "select": {"items": [1000]}}
    settings = {"figures": [{**figure, "panel": "model"}], "published": ["toy/fig1"]}
    run = write_run(tmp_path / "a.jsonl", searches(), header("a", section="toy", settings=settings))
    write_set(tmp_path)

    report = build(analyse(load([run])), tmp_path / "out", most_figures=0, published=tmp_path)

    names = {path.name for path in report.files if path.suffix == ".png"}
    assert names == {"toy_fig1.png", "toy_fig1_2.png"}


def test_the_published_folder_can_be_moved(tmp_path: Path) -> None:
    shutil.copytree(FOLDER / "alsatian", tmp_path / "elsewhere")

    assert "elsewhere/fig10" in published_names(tmp_path)
    _, here = load_published("alsatian/fig13")
    _, there = load_published("elsewhere/fig13", tmp_path)
    assert here.samples["value"].equals(there.samples["value"])
