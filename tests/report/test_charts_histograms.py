from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chart_builders import results_of, spec
from figure_checks import require_apart, require_legible
from hypothesis import given
from hypothesis import strategies as st
from transfer_builders import LAYERS, search, searches

from harness.errors import InputError
from harness.report import house_style as style
from harness.report.charts import draw, plan, save
from harness.report.charts.chart import Chart
from harness.report.charts.histogram import MOST_BARS, bins
from harness.report.table import Results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return results_of(tmp_path_factory.mktemp("histograms"), searches())


@pytest.fixture(autouse=True)
def in_house_style() -> Iterator[None]:
    with style.house_style():
        yield


def of_lists(folder: Path, *lists: Any, **fields: Any) -> Chart:
    """Plan a figure of samples that noted just these lists."""
    records = [search("store", seed, transferred_layers=item) for seed, item in enumerate(lists)]
    figure = spec("histogram", **{"value": "extra.transferred_layers", **fields})
    return plan(figure, results_of(folder, records))


def test_it_is_legible_and_nothing_lies_on_another(results: Results) -> None:
    figure = draw(LAYERS, results)

    require_legible(figure)
    require_apart(figure)


def test_bars_count_over_all_samples_of_a_series(results: Results) -> None:
    points = plan(LAYERS, results).points

    for method in ("noop", "file", "store"):
        noted = [
            number
            for extra in results.samples.loc[results.samples["param_method"] == method, "extra"]
            for number in extra["transferred_layers"]
        ]
        part = points[points["series"] == method]
        counts = Counter(noted)
        found = part.set_index("number")["count"]
        assert found[found > 0].to_dict() == dict(counts)
        assert part["share"].sum() == pytest.approx(1.0)
        assert part["share"].to_list() == pytest.approx(
            [counts[number] / len(noted) for number in part["number"]]
        )
        assert set(part["n"]) == {3}
        assert part["mean"].iloc[0] == pytest.approx(sum(noted) / len(noted))


def test_a_number_that_never_occurs_has_an_empty_place(tmp_path: Path) -> None:
    points = of_lists(tmp_path, [2, 2, 5]).points

    assert points["number"].to_list() == [2, 3, 4, 5]
    assert points["count"].to_list() == [2, 0, 0, 1]


def test_bars_are_as_high_as_the_shares_and_stand_at_their_numbers(tmp_path: Path) -> None:
    axes = draw(
        spec("histogram", value="extra.transferred_layers"),
        results_of(tmp_path, [search("store", 0, transferred_layers=[0, 0, 0, 2])]),
    ).axes[0]

    bars = [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in axes.patches]
    assert [place for place, _ in bars] == pytest.approx([0, 1, 2])
    assert [height for _, height in bars] == pytest.approx([75, 0, 25])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Transferred layers", "Share, %")


def test_the_legend_has_the_mean_of_each_series(tmp_path: Path) -> None:
    records = [
        search("noop", 0, transferred_layers=[0, 0]),
        search("store", 0, transferred_layers=[3, 4]),
    ]

    figure = draw(LAYERS, results_of(tmp_path, records))

    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["noop, mean 0", "store, mean 3.50"]
    assert figure.axes[0].lines[1].get_xdata() == pytest.approx([3.5])


def test_without_series_the_mean_stands_alone(tmp_path: Path) -> None:
    figure = draw(
        spec("histogram", value="extra.transferred_layers"),
        results_of(tmp_path, [search("store", 0, transferred_layers=[3, 4])]),
    )

    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mean 3.50"]


def test_files_have_counts_and_shares(results: Results, tmp_path: Path) -> None:
    saved = save(plan(LAYERS, results), tmp_path, "fig")

    assert saved.csv.read_text().splitlines()[0] == (
        "method,n,number,count,share,mean,width,quantity,unit"
    )
    assert "| noop | 3 | 0 | 120 | 100 % | 0 |" in saved.markdown.read_text()


def test_many_numbers_share_bars(tmp_path: Path) -> None:
    chart = of_lists(tmp_path, [7, 199, 204])

    assert chart.points["number"].to_list() == list(range(5, 205, 5))[: len(chart.points)]
    assert chart.points["count"].to_list()[0] == 1
    assert chart.points["count"].sum() == 3
    assert "the 5 numbers from the one below it" in chart.caption


@given(st.lists(st.integers(-10_000, 100_000), min_size=1, max_size=20))
def test_bars_are_few_and_hold_every_number(numbers: list[int]) -> None:
    first, width = bins([numbers])

    assert first <= min(numbers) < first + width
    assert (max(numbers) - first) // width < MOST_BARS
    assert width == 1 or max(numbers) - min(numbers) >= MOST_BARS - 1


@pytest.mark.parametrize(
    ("noted", "text"),
    [
        ([1, 2.5], r"extra.transferred_layers\[1\]: found 2.5, expected a whole number"),
        ([], "found an empty list, expected a list of numbers"),
        ({"0": 3}, "found {'0': 3}, expected a list of numbers"),
        ([1, "2"], r"\[1\]: found '2', expected a number"),
        (None, "no sample has the list extra.transferred_layers"),
    ],
)
def test_what_cannot_be_counted_is_refused_in_one_line(
    tmp_path: Path, noted: Any, text: str
) -> None:
    with pytest.raises(InputError, match=f"figure fig: .*{text}") as error:
        of_lists(tmp_path, noted)

    assert "\n" not in str(error.value)


def test_a_histogram_has_no_x(results: Results) -> None:
    with pytest.raises(InputError, match="figure fig: histogram has no x: its bars stand over"):
        plan(LAYERS.model_copy(update={"x": "space"}), results)
