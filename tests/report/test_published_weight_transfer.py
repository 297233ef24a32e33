from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from figure_checks import require_apart, require_legible
from transfer_builders import LAYERS, searches, write_folder

from harness.report import house_style as style
from harness.report.analysis import analyse
from harness.report.build import build
from harness.report.charts import draw, plan, published_charts
from harness.report.load import load
from harness.report.published import FOLDER, load_published, published_names
from harness.report.published_spec import read_set

SOURCES = {
    "evostore": "Underwood, Madhyastha, Burns, Nicolae, EvoStore (doi 10.1145/3625549.3658679)",
    "viper": "Nicolae, Viper (doi 10.1145/3673038.3673070)",
}
NAMES = [name for name in published_names() if name.partition("/")[0] in SOURCES]
FILES = [path for home in SOURCES for path in sorted((FOLDER / home).glob("*.csv"))]


@pytest.fixture(autouse=True)
def in_house_style() -> Iterator[None]:
    with style.house_style():
        yield


def rows_of(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_all_that_could_be_read_is_there() -> None:
    assert NAMES == [
        "evostore/space",
        "evostore/accuracy_reached",
        "evostore/transferred_layers",
        "viper/update_latency",
        "viper/training_overhead",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_legible_and_says_that_it_was_published(name: str) -> None:
    spec, results = load_published(name)
    figure = draw(spec, results)
    chart = plan(spec, results)

    require_legible(figure)
    require_apart(figure)
    assert chart.title.startswith("Published: ")
    assert SOURCES[name.partition("/")[0]] in chart.caption
    assert "Machine published: " in chart.caption
    assert "commit" not in chart.caption


def test_space_and_its_ratios_are_the_published_ones() -> None:
    chart = plan(*load_published("evostore/space"))

    points = chart.points.set_index(["x", "series"])
    assert points["median"].to_dict() == {
        ("unlabelled", "hdf5_pfs"): 96.52,
        ("unlabelled", "evostore"): 26.92,
        ("deephyper", "hdf5_pfs"): 9.06,
        ("deephyper", "evostore"): 5.10,
    }
    for row in rows_of("evostore/space.csv"):
        if row["times_less_than_hdf5"]:
            ratio = points.loc[(row["workload"], row["store"]), "speed_up"]
            assert ratio == pytest.approx(float(row["times_less_than_hdf5"]), abs=0.005)
    assert "how many times less than HDF5+PFS" in chart.caption
    assert "speed-up" not in chart.caption


@pytest.mark.parametrize(
    ("search", "never"),
    [
        ("no_transfer 128", [0.92, 0.93, 0.94, 0.95, 0.96]),
        ("no_transfer 256", [0.95, 0.96]),
        ("evostore 128", []),
        ("evostore 256", []),
    ],
)
def test_accuracies_that_a_search_never_reaches(search: str, never: list[float]) -> None:
    points = plan(*load_published("evostore/accuracy_reached")).points

    own = points[points["y"] == search]
    assert own["x"].to_list() == [0.91, 0.92, 0.93, 0.94, 0.95, 0.96]
    assert own.loc[own["median"] == 0, "x"].to_list() == never


def test_layers_of_a_thousand_candidates() -> None:
    points = plan(*load_published("evostore/transferred_layers")).points

    assert points["x"].to_list() == list(range(10))
    assert points["median"].to_list() == [319, 351, 12, 5, 20, 52, 42, 56, 74, 69]
    assert points["median"].sum() == 1000


def test_latencies_are_the_baseline_s_over_the_published_ratios() -> None:
    points = plan(*load_published("viper/update_latency")).points.set_index(["x", "series"])

    base = points.xs("h5py_pfs", level="series")["median"]
    assert base.to_dict() == {"nt3_a": 1.5, "tc1": 8.0, "ptychonn": 8.3}
    for row in rows_of("viper/update_latency.csv"):
        if row["seconds_are"] == "derived":
            ratio = points.loc[(row["model"], row["path"]), "speed_up"]
            assert ratio == pytest.approx(float(row["times_faster_than_h5py"]), rel=1e-3)
        else:
            assert (row["path"], row["times_faster_than_h5py"]) == ("h5py_pfs", "")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_row_has_a_source_and_every_file_is_described(path: Path) -> None:
    rows = rows_of(f"{path.parent.name}/{path.name}")

    assert all(row["source"] for row in rows)
    assert f"| `{path.name}` | {len(rows)} |" in (path.parent / "README.md").read_text()
    assert path.name in {figure.file for figure in read_set(path.parent).figures}


def test_they_stand_beside_what_was_measured_and_apart_from_it(tmp_path: Path) -> None:
    names = ["evostore/transferred_layers", "evostore/accuracy_reached"]
    folder = write_folder(tmp_path / "run", searches(), LAYERS, published=names)
    results = load([folder])

    quoted = published_charts(results)
    report = build(analyse(results), tmp_path / "out", most_figures=0)

    assert [f"{item.section}/{item.name}" for item in quoted] == names
    assert report.notes == ()
    page = report.page.read_text(encoding="utf-8")
    own = page.partition('<h2 id="experiment">')[2].partition("<h2")[0]
    others = page.partition('<h2 id="published">')[2].partition("<h2")[0]
    assert own.count("<img ") == 1
    assert "Published" not in own
    assert others.count("<img ") == 2
    assert "EvoStore: Towards Scalable Storage of Evolving Learning Models" in others
