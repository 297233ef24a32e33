from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from chart_builders import (
    BARS,
    BASE,
    KINDS,
    NOISE,
    ONE_CASE,
    SPEED_UPS,
    median_of,
    results_of,
    sample,
    searches,
    spec,
)
from figure_checks import drawn_texts, require_apart, require_legible
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from report_builders import combinations, write_asv

from harness.errors import InputError
from harness.report import house_style as style
from harness.report.charts import draw, plan
from harness.report.charts.grouped_bars import speed_up_text
from harness.report.charts.heat_map import COLORS, luminance
from harness.report.charts.layout import looks
from harness.report.charts.stacked_bars import initials
from harness.report.load import load
from harness.report.table import Results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return results_of(tmp_path_factory.mktemp("charts"), searches())


@pytest.fixture(autouse=True)
def in_house_style() -> Iterator[None]:
    with style.house_style():
        yield


def heights(axes: Axes) -> list[float]:
    return [patch.get_height() for patch in axes.patches]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_legible_and_nothing_lies_on_another(results: Results, kind: str) -> None:
    figure = draw(KINDS[kind], results)
    figure.draw_without_rendering()

    require_legible(figure)
    require_apart(figure)
    assert figure.get_size_inches()[0] in (style.COLUMN, style.PAGE)


@pytest.mark.parametrize("kind", KINDS)
def test_every_caption_names_where_the_numbers_come_from(results: Results, kind: str) -> None:
    caption = plan(KINDS[kind], results).caption

    for part in ("amd-epyc-2c-vm (AMD EPYC, ext4)", "commit 62589e8ee7", "6 samples a", "2026-11"):
        assert part in caption
    assert "cache cold_file" in caption


def test_bars_are_as_high_as_the_medians(results: Results) -> None:
    figure = draw(BARS, results)

    expected = [
        median_of({"engine": engine, "model": model, "items": items})
        for items in (1000, 2000, 8000)
        for engine in SPEED_UPS
        for model in BASE
    ]
    assert [height for axes in figure.axes for height in heights(axes)] == pytest.approx(expected)


def test_whiskers_go_over_the_quartiles(results: Results) -> None:
    points = plan(BARS, results).points

    assert (points["high"] - points["median"]).to_list() == pytest.approx([0.075] * len(points))
    assert (points["median"] - points["low"]).to_list() == pytest.approx([0.075] * len(points))


def test_speed_ups_stand_over_all_bars_but_the_base(results: Results) -> None:
    for axes in draw(BARS, results).axes:
        assert sorted(texts(axes)) == sorted(["1.2x", "6.7x"] * len(BASE))


def test_a_speed_up_of_throughput_is_own_over_base(results: Results) -> None:
    chart = plan(BARS.model_copy(update={"value": "gb_per_s"}), results)

    ratios = chart.points.set_index(["panel", "x", "series"])["speed_up"]
    assert ratios[2000, "vit_l_32", "alsatian"] == pytest.approx(SPEED_UPS["alsatian"], rel=1e-3)
    assert "more is better" in chart.caption


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (6.72, "6.7x"),
        (11.5096, "11.5x"),
        (123.44, "123.4x"),
        (0.96, "1.0x"),
        (0.0978, "0.1x"),
        (0.043, "0.04x"),
    ],
)
def test_how_a_speed_up_is_written(ratio: float, text: str) -> None:
    assert speed_up_text(ratio) == text


def test_a_bar_that_failed_says_so_at_its_place(tmp_path: Path) -> None:
    ways = combinations(way=["a", "b"])
    records = [sample(1.0, ways[0]), sample(None, ways[1], status="failed", reason="wrong")]

    chart = spec("grouped_bars", series="way", base="a")
    found = plan(chart, results_of(tmp_path, records))
    (axes,) = draw(chart, results_of(tmp_path / "again", records)).axes

    assert texts(axes) == ["failed"]
    assert "Not drawn: 1 sample (1 failed)." in found.caption


def test_one_sample_has_no_whisker(tmp_path: Path) -> None:
    chart = plan(spec("grouped_bars", x="way"), results_of(tmp_path, [sample(2.0, {"way": "a"})]))

    assert chart.points[["n", "median"]].to_numpy().tolist() == [[1, 2.0]]
    assert chart.points[["low", "high"]].isna().all(axis=None)
    assert "whisker" not in chart.caption


def test_bars_on_a_logarithmic_axis_begin_at_a_power_of_ten(results: Results) -> None:
    axes = draw(BARS.model_copy(update={"log": ["y"]}), results).axes[0]

    assert axes.get_yscale() == "log"
    assert axes.get_ylim()[0] == pytest.approx(1.0)
    assert axes.get_ylim()[1] > max(heights(axes))


def test_panels_share_their_scale_unless_they_are_far_apart(results: Results) -> None:
    near, far = (
        draw(BARS.model_copy(update={"select": {"items": items}, "base": None}), results)
        for items in ([1000, 2000], [1000, 8000])
    )

    assert len({axes.get_ylim() for axes in near.axes}) == 1
    assert len({axes.get_ylim() for axes in far.axes}) == 2
    captions = [
        plan(BARS.model_copy(update={"select": {"items": items}}), results).caption
        for items in ([1000, 2000], [1000, 8000])
    ]
    assert ["scales differ" in caption for caption in captions] == [False, True]


def test_phases_are_stacked_to_the_whole(results: Results) -> None:
    figure = draw(KINDS["stacked_bars"], results)

    patches = figure.axes[1].patches
    ends: dict[float, float] = {}
    for patch in patches:
        place = round(patch.get_x(), 6)
        assert patch.get_y() == pytest.approx(ends.get(place, 0.0))
        ends[place] = patch.get_y() + patch.get_height()
    expected = [
        median_of({"engine": engine, "model": model, "items": 2000})
        for model in BASE
        for engine in SPEED_UPS
    ]
    assert [ends[place] for place in sorted(ends)] == pytest.approx(expected)
    assert patches[0].get_height() == pytest.approx(0.25 * expected[0])


def test_totals_stand_on_top_and_letters_below(results: Results) -> None:
    found = texts(draw(KINDS["stacked_bars"], results).axes[0])

    assert {"8.00", "6.40", "1.19", "12.0", "9.60", "1.79"} <= set(found)
    assert [found.count(letter) for letter in "BSA"] == [2, 2, 2]


def test_letters_are_explained_and_names_are_written_where_they_fit(results: Results) -> None:
    figure = draw(KINDS["stacked_bars"], results)
    roomy = draw(spec("stacked_bars", series="engine", select=ONE_CASE), results)

    drawn = [text.get_text() for text in drawn_texts(figure)]
    assert "B = base, S = shift, A = alsatian" in drawn
    assert {"base", "shift", "alsatian"} <= set(texts(roomy.axes[0]))


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["Base", "SHiFT", "Alsatian"], ["B", "S", "A"]),
        (["direct", "dcp"], ["Di", "Dc"]),
        (["torch_a", "torch_b"], ["1", "2"]),
    ],
)
def test_initials_tell_names_apart(names: list[str], short: list[str]) -> None:
    assert initials(names) == short


def test_samples_without_phases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="figure fig: no sample states phases"):
        plan(spec("stacked_bars", x="way"), results_of(tmp_path, [sample(1.0, {"way": "a"})]))


def test_lines_go_through_the_medians_with_an_interval(results: Results) -> None:
    chart = plan(KINDS["lines"], results)
    axes = draw(KINDS["lines"], results).axes[0]

    places, medians = axes.lines[0].get_data()
    assert list(places) == [1000, 2000, 8000]
    assert list(medians) == pytest.approx([8.0, 16.0, 64.0])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (chart.points["low"] < chart.points["median"]).all()
    assert (chart.points["high"] > chart.points["median"]).all()
    assert "95 % bootstrap interval of the median" in chart.caption


def test_lines_over_words_have_a_place_for_each(results: Results) -> None:
    axes = draw(spec("lines", x="model", series="engine", select={"items": [1000]}), results).axes[
        0
    ]

    assert [text.get_text() for text in axes.get_xticklabels()] == list(BASE)
    assert list(axes.lines[0].get_xdata()) == [0, 1]


def test_a_heat_map_writes_each_median_legibly(results: Results) -> None:
    figure = draw(KINDS["heat_map"], results)
    axes = figure.axes[0]

    written = {text.get_position(): text.get_text() for text in axes.texts}
    rows = [[written[column, row] for column in range(3)] for row in range(2)]
    assert rows == [["8.00", "16.0", "64.0"], ["12.0", "24.0", "96.0"]]
    norm = axes.images[0].norm
    for text in axes.texts:
        value = float(text.get_text())
        cell = luminance(np.array(matplotlib.colormaps[COLORS](norm(value))[:3]))
        ink = 1.0 if text.get_color() == "white" else 0.0
        assert (max(cell, ink) + 0.05) / (min(cell, ink) + 0.05) >= 4.5


def test_a_cell_that_was_not_measured_is_a_dash(tmp_path: Path) -> None:
    records = [sample(1.0, {"a": a, "b": b}) for a, b in ((1, 1), (1, 2), (2, 1))]

    axes = draw(spec("heat_map", x="a", y="b"), results_of(tmp_path, records)).axes[0]

    assert sorted(texts(axes)) == ["1.00", "1.00", "1.00", "–"]


def test_a_scatter_has_a_dot_a_case_and_its_rank_correlation(results: Results) -> None:
    chart = plan(KINDS["scatter"], results)
    axes = draw(KINDS["scatter"], results).axes[0]

    assert len(chart.points) == 3 * 2 * 3
    # Each engine is slower with more items, which all make the accuracy higher, with ties.
    assert texts(axes) == ["ρ = 0.74, τ = 0.61, n = 9"]
    dots = [dot for line in axes.lines for dot in zip(*line.get_data(), strict=True)]
    assert len(dots) == 9
    assert dots[0] == pytest.approx((8.0, 0.51))


def test_an_ecdf_rises_by_one_sample_a_step(results: Results) -> None:
    chart = plan(KINDS["ecdf"], results)
    axes = draw(KINDS["ecdf"], results).axes[0]

    values, shares = axes.lines[0].get_data()
    assert list(values) == pytest.approx([7.8, *(8.0 + noise for noise in NOISE)])
    assert list(shares) == pytest.approx([number / 6 for number in range(7)])
    listed = chart.listed[chart.listed["series"] == "base"] if chart.listed is not None else None
    assert listed is not None
    assert listed["value"].to_list()[:2] == pytest.approx([8.0, 8.2])


def test_an_anytime_curve_is_the_median_of_step_functions(tmp_path: Path) -> None:
    curves = ([[1, 0.1], [4, 0.9]], [[2, 0.3], [3, 0.5]], [[1, 0.2], [6, 0.4]])
    records = [sample(9.0, {"way": "a"}, round=r, extra={"curve": c}) for r, c in enumerate(curves)]

    points = plan(spec("anytime", series="way"), results_of(tmp_path, records)).points

    # Before the second second one sample has found nothing; after its last, each keeps its best.
    assert points["seconds"].to_list() == [2, 3, 4, 6]
    assert points["median"].to_list() == pytest.approx([0.2, 0.2, 0.5, 0.5])
    assert points["low"].to_list() == pytest.approx([0.15, 0.15, 0.35, 0.45])
    assert set(points["n"]) == {3}


@pytest.mark.parametrize(
    ("curve", "text"),
    [
        ([[1, 0.5], [2, 0.7], [3, 0.6]], "rises and falls"),
        ([[2, 0.5], [1, 0.7]], r"extra.curve is no list of \[seconds, value\] in order of time"),
        ([[1, 2, 3]], "is no list"),
        ("steep", "is no list"),
        ([], "is no list"),
    ],
)
def test_what_is_no_curve_of_the_best_so_far_is_refused(
    tmp_path: Path, curve: Any, text: str
) -> None:
    results = results_of(tmp_path, [sample(9.0, {"way": "a"}, extra={"curve": curve})])

    with pytest.raises(InputError, match=f"figure fig: .*{text}"):
        plan(spec("anytime"), results)


def test_stored_statistics_are_drawn_as_they_are_stored(tmp_path: Path) -> None:
    write_asv(tmp_path, {"mod.time_x": [[0.5, 0.25]]}, {"mod.time_x": ["way"]})
    path = next(tmp_path.glob("*/62589e8e*.json"))
    text = path.read_text()
    assert '"mod.time_x"' in text
    # Rewritten whole, with the axes that asv writes beside the values.
    from report_builders import asv_entry

    write_asv(
        tmp_path, {"mod.time_x": asv_entry([["a", "b"]], [0.5, 0.25])}, {"mod.time_x": ["way"]}
    )

    points = plan(spec("grouped_bars", x="way"), load([tmp_path])).points

    assert points["median"].to_list() == [0.5, 0.25]
    assert points["n"].to_list() == [12, 12]
    assert points["low"].to_list() == pytest.approx([0.495, 0.2475])


@given(st.integers(1, 42))
def test_series_differ_in_colour_or_in_form(count: int) -> None:
    bars, lines = looks(range(count)).values(), looks(range(count), lines=True).values()

    assert len({(look.color, look.hatch) for look in bars}) == count
    assert len({(look.color, look.marker) for look in lines}) == count
    assert len({(look.color, look.dashes) for look in lines}) == count


def test_a_legend_is_read_line_by_line(tmp_path: Path) -> None:
    records = [sample(1.0, {"way": f"a rather long name {number}"}) for number in range(5)]

    figure = draw(spec("grouped_bars", series="way"), results_of(tmp_path, records))
    figure.draw_without_rendering()

    entries = figure.legends[0].get_texts()
    places = {text.get_text(): text.get_window_extent() for text in entries}
    assert sorted(places, key=lambda name: (-places[name].y0, places[name].x0)) == sorted(places)


def test_a_figure_belongs_to_no_global_state(results: Results) -> None:
    assert isinstance(draw(BARS, results), Figure)
    assert not matplotlib._pylab_helpers.Gcf.figs  # type: ignore[attr-defined]
