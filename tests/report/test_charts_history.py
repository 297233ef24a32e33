from __future__ import annotations

import math

import pytest
from figure_checks import drawn_texts, require_legible
from matplotlib.figure import Figure

from harness.report.charts.history import HistoryPoint, Step, change_text, draw_history


def series(values: list[float], low: float = 0.98, high: float = 1.02) -> list[HistoryPoint]:
    return [
        HistoryPoint(f"{number:08x}{'0' * 32}", f"2026-11-{number + 1:02d}", v, v * low, v * high)
        for number, v in enumerate(values)
    ]


VALUES = [0.010] * 8 + [0.0125] * 3 + [0.030] * 5
STEPS = [Step(0, 7, 0.010), Step(8, 10, 0.0125), Step(11, 15, 0.030)]


@pytest.fixture
def figure() -> Figure:
    return draw_history(series(VALUES), STEPS, title="mod.time_x", caption="Machine testbox.")


def test_values_stand_in_the_order_of_the_commits(figure: Figure) -> None:
    axes = figure.axes[0]

    places, values = axes.lines[0].get_data()
    assert list(places) == list(range(16))
    assert list(values) == pytest.approx([1000 * value for value in VALUES])
    assert axes.get_ylabel() == "Time, ms"


def test_each_change_is_marked_between_its_commits(figure: Figure) -> None:
    axes = figure.axes[0]

    assert [line.get_xdata()[0] for line in axes.lines[1:]] == [7.5, 10.5]
    assert [text.get_text() for text in axes.texts] == ["+25 %", "2.4x"]


def test_it_is_legible_and_names_commits_and_caption(figure: Figure) -> None:
    require_legible(figure)
    drawn = " ".join(text.get_text() for text in drawn_texts(figure))

    assert "00000000" in drawn
    assert "16 commits, 2026-11-01 to 2026-11-16" in drawn
    assert "Machine testbox." in drawn


def test_many_commits_are_named_as_far_as_they_fit() -> None:
    points = series([0.01 + 0.0001 * (number % 3) for number in range(300)])

    figure = draw_history(points, [], title="mod.time_x", caption="")

    require_legible(figure)
    assert 10 < len(figure.axes[0].get_xticklabels()) < 40
    assert not figure.axes[0].texts


def test_one_commit_without_an_interval() -> None:
    figure = draw_history(series([0.5], math.nan, math.nan), [], title="x", caption="Caption.")

    require_legible(figure)
    assert "interval" not in " ".join(text.get_text() for text in drawn_texts(figure))


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [(1.0, 1.12, "+12 %"), (1.0, 0.8, "-20 %"), (1.0, 3.14, "3.1x"), (0.0, 1.0, "changed")],
)
def test_how_a_change_is_written(before: float, after: float, text: str) -> None:
    assert change_text(before, after) == text
