from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from figure_checks import require_apart, require_legible
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.figure_spec import FigureSpec
from harness.report import house_style as style
from harness.report.charts import draw, plan
from harness.report.charts.chart import Chart
from harness.report.charts.grouped_bars import place, speed_up_text
from harness.report.published import FOLDER, load_published, published_names
from harness.report.published_spec import read_set

ALSATIAN = FOLDER / "alsatian"
OF_PAPER = ("fig05", "fig10", "fig11", "fig12", "fig13", "fig14", "fig15", "fig16", "fig17")
WITH_SPEED_UPS = {"fig10": 72, "fig13": 12, "fig14": 30, "fig15": 6, "fig17": 9}
"""Figures of grouped bars, with how many bars the paper's have."""


def rows_of(file: str, **where: str) -> list[dict[str, str]]:
    """Read a CSV file without the loader under test."""
    with (ALSATIAN / file).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [row for row in rows if all(row[name] == text for name, text in where.items())]


def key_of(row: Mapping[str, str], spec: FigureSpec) -> tuple[str, str, str]:
    """Return panel, x and series of a row, as texts."""
    names = (spec.panel, spec.x, spec.series)
    cells = {**row, "": "", "set": f"{row['items']} {row.get('distribution')}"}
    panel, x, series = (cells[name or ""] for name in names)
    return panel, x, series


def drawn(name: str) -> tuple[Chart, Figure]:
    spec, results = load_published(f"alsatian/{name}")
    return plan(spec, results), draw(spec, results)


def places_of(chart: Chart, panel: Any) -> dict[tuple[str, str, str], float]:
    return {
        (str(panel), str(x), str(series)): place(chart, x, series)
        for x in chart.values("x")
        for series in chart.values("series")
    }


def nearest_key(places: Mapping[tuple[str, str, str], float], x: float) -> tuple[str, str, str]:
    return min(places, key=lambda key: abs(places[key] - x))


@pytest.fixture(autouse=True)
def in_house_style() -> Iterator[None]:
    with style.house_style():
        yield


def test_every_figure_of_the_paper_is_there() -> None:
    assert {f"alsatian/{name}" for name in OF_PAPER} <= set(published_names())


@pytest.mark.parametrize(
    "name", [name for name in published_names() if name.startswith("alsatian/")]
)
def test_every_figure_is_legible_and_names_its_source(name: str) -> None:
    spec, results = load_published(name)
    figure = draw(spec, results)

    require_legible(figure)
    require_apart(figure)
    caption = plan(spec, results).caption
    assert "Strassenburg, Glavic, Rabl, Alsatian (doi 10.1145/3725264)" in caption
    assert "AMD Threadripper PRO 3995WX" in caption
    assert "1 number a point" in caption
    assert "at the median" not in caption
    assert "commit" not in caption


@pytest.mark.parametrize("name", WITH_SPEED_UPS)
def test_the_speed_ups_on_the_bars_are_the_published_ones(name: str) -> None:
    rows = rows_of("end_to_end.csv", figure=name)
    chart, figure = drawn(name)
    spec = chart.selection.spec
    own = {key_of(row, spec): row for row in rows}
    assert len(rows) == len(own) == WITH_SPEED_UPS[name]

    found = {}
    for panel, axes in zip(chart.panels, figure.axes, strict=True):
        places = places_of(chart, panel)
        found |= {nearest_key(places, text.xy[0]): text.get_text() for text in axes.texts}

    expected = {key: row for key, row in own.items() if row["speedup_over_base"]}
    assert set(found) == set(expected)
    assert len(expected) == 2 * len(rows) // 3
    for key, row in expected.items():
        base = float(own[(key[0], key[1], "base")]["seconds"])
        assert found[key] == speed_up_text(base / float(row["seconds"]))
        # The printed text and the file's two decimals are rounded from the same number.
        difference = Decimal(found[key].removesuffix("x")) - Decimal(row["speedup_over_base"])
        assert abs(difference) <= Decimal("0.05")


def test_all_published_speed_ups_follow_from_the_published_times() -> None:
    for file in ("end_to_end.csv", "end_to_end_older.csv"):
        rows = rows_of(file)
        for first, second, third in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
            assert [row["engine"] for row in (first, second, third)] == [
                "base",
                "shift",
                "alsatian",
            ]
            for row in (second, third):
                ratio = float(first["seconds"]) / float(row["seconds"])
                assert ratio == pytest.approx(float(row["speedup_over_base"]), abs=0.0051)


@pytest.mark.parametrize("name", WITH_SPEED_UPS)
def test_bars_stand_in_the_paper_s_order_and_are_as_high_as_the_times(name: str) -> None:
    chart, figure = drawn(name)
    own = {key_of(row, chart.selection.spec): row for row in rows_of("end_to_end.csv", figure=name)}

    assert chart.values("series") == ("base", "shift", "alsatian")
    if chart.selection.spec.x == "model" and name != "fig14":
        assert chart.values("x") == ("ResNet-18", "ResNet-152", "EffNetV2-L", "ViT-L-32")
    for panel, axes in zip(chart.panels, figure.axes, strict=True):
        places = places_of(chart, panel)
        assert len(axes.patches) == len(places)
        for bar in axes.patches:
            key = nearest_key(places, bar.get_x() + bar.get_width() / 2)
            assert bar.get_height() == pytest.approx(float(own[key]["seconds"]))


def segments(axes: Axes, places: Mapping[Any, float]) -> dict[Any, list[float]]:
    """Return the heights of each stack's segments, from the bottom; each stands on the last."""
    found: dict[Any, list[tuple[float, float]]] = {}
    for bar in axes.patches:
        key = nearest_key(places, bar.get_x() + bar.get_width() / 2)
        found.setdefault(key, []).append((bar.get_y(), bar.get_height()))
    for parts in found.values():
        parts.sort()
        below = 0.0
        for bottom, height in parts:
            assert bottom == pytest.approx(below)
            below += height
    return {key: [height for _, height in parts] for key, parts in found.items()}


STACKS = {
    "fig05": ("bottleneck.csv", {"figure": "fig05", "dataset": "imagenette"}),
    "fig11": ("breakdown.csv", {"experiment": "synthetic_breakdown"}),
    "fig11_distributions": (
        "breakdown.csv",
        {"experiment": "synthetic_breakdown_by_distribution"},
    ),
    "fig16": ("breakdown.csv", {"experiment": "limited_memory"}),
    "hf_breakdown": ("breakdown.csv", {"experiment": "hf_combined_breakdown"}),
}


@pytest.mark.parametrize("name", STACKS)
def test_segments_are_as_high_as_the_published_phases(name: str) -> None:
    file, where = STACKS[name]
    chart, figure = drawn(name)
    expected: dict[Any, list[float]] = {}
    totals = {}
    for row in rows_of(file, **where):
        key = key_of(row, chart.selection.spec)
        expected.setdefault(key, []).append(float(row["seconds"]))
        totals[key] = float(row["total_seconds"])

    found: dict[Any, list[float]] = {}
    for panel, axes in zip(chart.panels, figure.axes, strict=True):
        found |= segments(axes, places_of(chart, panel))

    assert list(dict.fromkeys(chart.points["phase"])) == [
        "prepare_model",
        "prepare_data",
        "inference",
        "proxy_score",
    ]
    assert set(found) == set(expected)
    for key, heights in found.items():
        assert heights == pytest.approx(expected[key])
        assert sum(heights) == pytest.approx(totals[key], abs=0.011)


def test_all_published_phases_add_up_to_the_published_sums() -> None:
    for file in ("bottleneck.csv", "breakdown.csv", "breakdown_older.csv"):
        sums: dict[tuple[str, ...], float] = {}
        for row in rows_of(file):
            key = tuple(row[name] for name in row if name not in ("phase", "seconds", "percent"))
            sums[key] = sums.get(key, 0.0) + float(row["seconds"])
        for row in rows_of(file):
            key = tuple(row[name] for name in row if name not in ("phase", "seconds", "percent"))
            assert sums[key] == pytest.approx(float(row["total_seconds"]), abs=0.011)


@pytest.mark.parametrize(
    ("name", "params", "value"),
    [
        ("fig10", {"set": "2000 TOP_LAYERS", "model": "ViT-L-32", "engine": "base"}, 737.42),
        ("fig10", {"set": "2000 TOP_LAYERS", "model": "ViT-L-32", "engine": "shift"}, 684.15),
        ("fig10", {"set": "2000 TOP_LAYERS", "model": "ViT-L-32", "engine": "alsatian"}, 64.07),
        ("fig10", {"set": "8000 FIFTY_PERCENT", "model": "ResNet-18", "engine": "shift"}, 156.06),
        ("fig13", {"model": "EffNetV2-L", "engine": "alsatian"}, 107.98),
        ("fig14", {"items": 8000, "model": "detr-50", "engine": "base"}, 3068.28),
        ("fig15", {"items": 2000, "engine": "alsatian"}, 2095.8),
        ("fig17", {"distribution": "TOP_LAYERS", "engine": "base"}, 528.92),
        ("fig16", {"memory_gb": 5, "engine": "shift"}, 1332.12),
        ("fig05", {"items": 9216, "model": "ViT-L-32"}, 31.6577),
        ("older_last_layer", {"items": 1000, "model": "resnet18", "engine": "shift"}, 107.12),
        ("older_breakdown", {"items": 8000, "model": "vit_l_32", "engine": "base"}, 1360.04),
        ("sharing_bytes", {"model": "vit_l_32", "distribution": "TOP_LAYERS"}, 8.06),
        ("data_loading", {"dataset": "imagenette", "batch_size": 32, "workers": 1}, 3.8339),
    ],
)
def test_numbers_known_from_the_paper_s_tables(
    name: str, params: Mapping[str, Any], value: float
) -> None:
    _, results = load_published(f"alsatian/{name}")
    samples = results.samples

    rows = samples[[params.items() <= own.items() for own in samples["params"]]]

    assert rows["value"].to_list() == [value]


def test_the_largest_speed_up_is_printed() -> None:
    _, figure = drawn("fig10")

    assert "11.5x" in [text.get_text() for text in figure.axes[0].texts]
    assert "13.6x" in [text.get_text() for text in figure.axes[3].texts]


@pytest.mark.parametrize("path", sorted(ALSATIAN.glob("*.csv")), ids=lambda path: path.name)
def test_every_row_has_a_source_and_every_file_is_described(path: Path) -> None:
    assert all(row["source"] for row in rows_of(path.name))
    assert f"| `{path.name}` | {len(rows_of(path.name))} |" in (ALSATIAN / "README.md").read_text()
    assert path.name in {figure.file for figure in read_set(ALSATIAN).figures}


def test_published_samples_are_of_one_setting_and_of_nothing_measured() -> None:
    _, results = load_published("alsatian/fig10")

    assert set(results.samples["runner"]) == {"published"}
    assert set(results.samples["setting"]) == {"published: Alsatian"}
    assert set(results.samples["n"]) == {1}
    assert results.runs[0].command == ""
    assert results.samples["extra"][0]["source"].endswith(".svg")
