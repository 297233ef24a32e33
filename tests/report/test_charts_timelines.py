from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chart_builders import results_of, spec
from figure_checks import require_apart, require_legible
from hypothesis import given
from hypothesis import strategies as st
from transfer_builders import BEST, METHODS, SEARCH, SPACE, TIMELINE, search, searches, write_folder

from harness.errors import InputError
from harness.experiments.drawable import check_figures
from harness.experiments.sections import Section
from harness.report import house_style as style
from harness.report.charts import draw, plan, save
from harness.report.charts.chart import Chart
from harness.report.charts.reached import axis_floor, first_at
from harness.report.charts.steps import common_places, evenly, value_at, without_repeats
from harness.report.charts.timeline import MOST_STEPS
from harness.report.load import load
from harness.report.table import Results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return load([write_folder(tmp_path_factory.mktemp("timelines") / "run", searches())])


@pytest.fixture(autouse=True)
def in_house_style() -> Iterator[None]:
    with style.house_style():
        yield


def two_lines(folder: Path, *lines: tuple[Any, Any], **fields: Any) -> Chart:
    """Plan a figure of samples that noted just these lists."""
    records = [
        search("store", seed, seconds=x, best_accuracy=y) for seed, (x, y) in enumerate(lines)
    ]
    shape = {"x": "extra.seconds", "value": "extra.best_accuracy", **fields}
    return plan(spec("timeline", **shape), results_of(folder, records))


def medians(chart: Chart) -> list[tuple[float, float]]:
    rows = chart.points[chart.points["line"] == "median"]
    return list(zip(rows["across"], rows["value"], strict=True))


@pytest.mark.parametrize("figure", [TIMELINE, SPACE], ids=["accuracy", "space"])
def test_it_is_legible_and_nothing_lies_on_another(results: Results, figure: Any) -> None:
    drawn = draw(figure, results)

    require_legible(drawn)
    require_apart(drawn)


def test_a_median_steps_wherever_one_of_its_samples_steps(tmp_path: Path) -> None:
    chart = two_lines(
        tmp_path,
        ([1, 4], [0.1, 0.9]),
        ([2, 3], [0.3, 0.5]),
        ([1, 6], [0.2, 0.4]),
    )

    # Before 2 one sample has not begun; one that has ended keeps its last value.
    assert medians(chart) == [(2, 0.2), (4, pytest.approx(0.5)), (6, pytest.approx(0.5))]


def test_a_median_may_fall(tmp_path: Path) -> None:
    chart = two_lines(tmp_path, ([1, 2, 3], [5, 9, 2]), ([1, 2, 3], [7, 9, 4]))

    assert medians(chart) == [(1, 6), (2, 9), (3, 3)]


def test_a_sample_by_itself_is_the_thick_line(tmp_path: Path) -> None:
    chart = two_lines(tmp_path, ([1, 2], [0.5, 0.75]))

    assert chart.points["line"].to_list() == ["median", "median"]
    assert medians(chart) == [(1, 0.5), (2, 0.75)]
    assert "a line is one sample" in chart.caption


def test_samples_are_thin_and_medians_thick_in_one_colour(results: Results) -> None:
    axes = draw(TIMELINE, results).axes[0]

    thin = [line for line in axes.lines if line.get_linewidth() == 0.5]
    thick = [line for line in axes.lines if line.get_linewidth() == 1.5]
    assert (len(thin), len(thick)) == (9, 3)
    assert [line.get_drawstyle() for line in thin + thick] == ["steps-post"] * 12
    assert {line.get_color() for line in thin} == {line.get_color() for line in thick}
    assert all(line.get_zorder() > thin[0].get_zorder() for line in thick)


def test_thresholds_are_lines_across(results: Results) -> None:
    axes = draw(TIMELINE, results).axes[0]

    across = [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 0.6]
    assert across == pytest.approx([0.92, 0.95])


def test_when_medians_reach_thresholds_is_in_table_caption_and_files(
    results: Results, tmp_path: Path
) -> None:
    chart = plan(TIMELINE, results)
    assert chart.listed is not None
    saved = save(chart, tmp_path, "fig")

    found = chart.listed.set_index(["series", "threshold"])
    # The best grows by a twentieth of its end a birth; seed 2 ends 0.02 lower.
    assert found.loc[("store", 0.95), "reached"] == pytest.approx(20 * 1.1)
    assert found.loc[("file", 0.92), "reached"] == pytest.approx(20 * 1.4)
    assert math.isnan(found.loc[("noop", 0.95), "reached"])
    assert found["of them"].to_list() == [2, 0, 3, 2, 3, 3]
    assert set(found["n"]) == {3}
    assert "0.95: noop never, file 28.0 s, store 22.0 s." in chart.caption
    assert "| store | 3 | 0.95 | 22.0 | 3 |" in saved.markdown.read_text()
    assert "| noop | 3 | 0.95 | never | 0 |" in saved.markdown.read_text()
    assert "never" in saved.latex.read_text()


def test_thresholds_of_panels_are_in_the_table_alone(tmp_path: Path) -> None:
    figure = TIMELINE.model_copy(update={"panel": "method", "series": None})

    chart = plan(figure, results_of(tmp_path, searches()))

    assert chart.panels == METHODS
    assert "in the table" in chart.caption
    assert chart.listed is not None
    assert len(chart.listed) == 6


def test_a_threshold_that_lasts_too_short_to_be_drawn_is_still_reached(tmp_path: Path) -> None:
    values = np.tile([0.1, 0.2], 2500)
    values[1001] = 0.9

    chart = two_lines(
        tmp_path, (list(range(5000)), values.tolist()), thresholds=[0.9], labels={"store": "S"}
    )

    assert len(chart.points) == MOST_STEPS
    assert chart.listed is not None
    assert chart.listed["reached"].to_list() == [1001]


def test_bytes_over_births_have_their_units(results: Results) -> None:
    axes = draw(SPACE, results).axes[0]

    assert axes.get_ylabel() == "Stored, MB"
    assert axes.get_xlabel() == "Births"
    assert max(max(line.get_ydata()) for line in axes.lines) == pytest.approx(40.0)


def test_seconds_are_time(results: Results) -> None:
    assert draw(TIMELINE, results).axes[0].get_xlabel() == "Time, s"


def test_the_csv_has_the_samples_with_their_seeds(results: Results, tmp_path: Path) -> None:
    saved = save(plan(TIMELINE, results), tmp_path, "fig")

    lines = saved.csv.read_text().splitlines()
    assert lines[0] == "method,line,sample,seed,n,across,value,quantity,unit"
    assert any(line.startswith("store,sample,3,2,1,1.1,0.0475") for line in lines)
    assert any(line.startswith("store,median,,,3,1.1,0.0485") for line in lines)


@pytest.mark.parametrize(
    ("x", "y", "text"),
    [
        ([1, 2, 3], [0.1, 0.2], "extra.seconds has 3 numbers and extra.best_accuracy 2: expected"),
        ([1, 3, 2], [0.1, 0.2, 0.3], r"extra.seconds\[2\] = 2 comes after 3: expected numbers in"),
        ([], [0.1], "extra.seconds: found an empty list, expected a list of numbers"),
        (7.5, [0.1], "extra.seconds: found 7.5, expected a list of numbers"),
        ("12", [0.1, 0.2], "extra.seconds: found '12', expected a list of numbers"),
        ([1, 2], [0.1, None], r"extra.best_accuracy\[1\]: found None, expected a number"),
        ([1, 2], [0.1, "0.2"], r"extra.best_accuracy\[1\]: found '0.2', expected a number"),
        ([1, 2], [True, 0.2], r"extra.best_accuracy\[0\]: found True, expected a number"),
        ([1, 2], [[0.1], 0.2], r"extra.best_accuracy\[0\]: found \[0.1\], expected a number"),
        (None, [0.1], "no sample has the list extra.seconds; "),
    ],
)
def test_what_is_no_line_is_refused_in_one_line(tmp_path: Path, x: Any, y: Any, text: str) -> None:
    with pytest.raises(InputError, match=f"figure fig: .*{text}") as error:
        two_lines(tmp_path, (x, y))

    assert "\n" not in str(error.value)


def test_a_sample_with_one_of_both_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"best_accuracy and no extra\.seconds: a timeline"):
        two_lines(tmp_path, ([1], [0.5]), (None, [0.5]))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"x": None}, "timeline needs x = "),
        (
            {"x": "extra.second"},
            "no sample has the list extra.second; did you mean 'extra.seconds'",
        ),
        ({"value": "value"}, "value is one number a sample: expected a list of them"),
        ({"value": "extra.accuracy"}, "no sample has the list extra.accuracy"),
        ({"kind": "ecdf", "x": None, "value": "value"}, "thresholds are for kind = timeline"),
        ({"panel": "spaces"}, "panel = spaces: the benchmark has no such parameter"),
    ],
)
def test_what_a_figure_cannot_have_is_refused_in_one_line(
    results: Results, fields: dict[str, Any], text: str
) -> None:
    with pytest.raises(InputError, match=f"^figure fig: {text}") as error:
        plan(TIMELINE.model_copy(update=fields), results)

    assert "\n" not in str(error.value)


def test_methods_of_which_some_noted_no_list_are_left_out(tmp_path: Path) -> None:
    records = [search("store", 0), search("noop", 0, best_accuracy=None)]

    chart = plan(TIMELINE, results_of(tmp_path, records))

    assert set(chart.points["series"]) == {"store"}


@pytest.mark.parametrize(
    ("fields", "error"),
    [({}, ""), ({"series": "methods"}, "has no parameter 'methods'; did you mean 'method'")],
)
def test_a_section_may_declare_one_whose_x_is_no_parameter(
    fields: dict[str, Any], error: str
) -> None:
    figure = TIMELINE.model_copy(update=fields)
    section = Section.model_validate(
        {
            "title": "Searches",
            "comparisons": [{"name": "search", "benchmark": SEARCH}],
            "figures": [figure.model_dump()],
        }
    )

    with pytest.raises(InputError, match=error) if error else contextlib.nullcontext():
        check_figures(section, {"search": ["method", "space"]}, "wt.toml")


def lists(least: int) -> st.SearchStrategy[list[tuple[float, float]]]:
    number = st.integers(0, 20).map(float)
    return st.lists(st.tuples(number, number), min_size=least, max_size=12).map(
        lambda pairs: sorted(pairs, key=lambda pair: pair[0])
    )


def by_hand(steps: Any, place: float) -> float:
    """Return the value of the last step at or before a place."""
    return next(value for at, value in reversed(list(steps)) if at <= place)


@given(lists(1), st.integers(0, 25))
def test_the_value_of_a_line_is_that_of_its_last_step(pairs: Any, place: int) -> None:
    steps = np.array(pairs)
    where = float(max(place, pairs[0][0]))

    assert value_at(steps, np.array([where]))[0] == by_hand(pairs, where)


@given(lists(1))
def test_leaving_out_repeats_leaves_the_line_as_it_is(pairs: Any) -> None:
    steps = np.array(pairs)

    kept = without_repeats(steps)

    places = np.unique(steps[:, 0])
    assert value_at(kept, places).tolist() == value_at(steps, places).tolist()
    assert kept[-1].tolist() == steps[-1].tolist()
    assert (np.diff(kept[:-1, 1]) != 0).all()


@given(st.lists(lists(1), min_size=1, max_size=4))
def test_common_places_are_those_of_all_lines_from_where_all_have_begun(groups: Any) -> None:
    lines = [np.array(pairs) for pairs in groups]
    begin = max(line[0, 0] for line in lines)
    end = max(line[-1, 0] for line in lines)

    places = common_places(lines, end)

    known = {at for line in lines for at in line[:, 0] if begin <= at < end}
    assert places.tolist() == sorted(known | {end})


@given(lists(1), st.integers(-1, 21))
def test_a_threshold_is_reached_at_the_first_value_that_high(pairs: Any, threshold: int) -> None:
    expected = next((at for at, value in pairs if value >= threshold), math.nan)

    found = first_at(np.array(pairs), threshold)

    assert found == expected or (math.isnan(found) and math.isnan(expected))


@given(st.integers(1, 3000), st.integers(2, 500))
def test_what_is_kept_of_many_has_both_ends_and_is_even(count: int, most: int) -> None:
    kept = evenly(count, most)

    assert len(set(kept)) == len(kept) == min(count, most)
    assert (kept[0], kept[-1]) == (0, count - 1)
    assert np.ptp(np.diff(kept)) <= 1 if len(kept) > 2 else True


def test_ends_are_as_the_example_says(results: Results) -> None:
    rows = plan(TIMELINE, results).points
    last = rows[rows["line"] == "median"].groupby("series")["value"].last()

    assert {method: last[method] for method in METHODS} == pytest.approx(BEST)


@pytest.mark.parametrize(
    ("thresholds", "floor"), [([], 0.0), ([0.9], 0.0), ([0.91, 0.96], 0.86), ([0.1, 0.9], 0.0)]
)
def test_the_axis_begins_a_little_below_the_thresholds(
    thresholds: list[float], floor: float
) -> None:
    assert axis_floor(thresholds) == pytest.approx(floor)
