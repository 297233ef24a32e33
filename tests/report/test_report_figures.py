from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from figure_checks import require_apart, require_legible
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from report_builders import LIMITS, SIZE, combinations, interleaved, record, write_run

from harness.report import bar_plan, decomposition, scaling
from harness.report import house_style as style
from harness.report.analysis import analyse
from harness.report.bar_chart import BarChart
from harness.report.figures import Plot, draw, plots, save, unique_names
from harness.report.load import load
from harness.report.work import Work

MEDIANS = {"direct": 0.12, "safetensors": 0.2, "a_format_with_a_rather_long_name": 0.4}


def work_of(tmp_path: Path, records: list[object], **changed: object) -> Work:
    path = write_run(tmp_path / "run.jsonl", records, **changed)  # type: ignore[arg-type]
    (work,) = analyse(load([path])).works
    return work


def loads() -> list[object]:
    """Cold and warm loads into fresh and existing memory, with gaps: skipped and unproved."""
    limits = {("cold_file", "fresh"): 1.3e9, ("warm", "fresh"): 5e9, ("warm", "existing"): 9e9}
    records: list[object] = []
    for params in combinations(cache=("warm", "cold_file"), destination=("fresh", "existing")):
        ideal = SIZE / limits.get((params["cache"], params["destination"]), 2.2e9)
        factor = 0.2 if params["cache"] == "warm" else 1.0
        medians = {name: factor * median for name, median in MEDIANS.items()}
        records += interleaved(medians, params=params, ideal_seconds=ideal)
        reason = "fastsafetensors is not installed; install it with: pip install bench-core"
        params = {**params, "format": "fastsafetensors"}
        records.append(record(None, status="skipped", reason=reason, params=params, cache=None))
    return records


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> BarChart:
    (chart,) = bar_plan.plan(work_of(tmp_path_factory.mktemp("loads"), loads()))
    return chart


@pytest.fixture(scope="module")
def figure(chart: BarChart) -> Iterator[Figure]:
    with style.house_style():
        figure = draw(chart)
        figure.draw_without_rendering()
        yield figure


def test_a_panel_per_cache_state_the_coldest_first(chart: BarChart) -> None:
    assert [panel.title for panel in chart.panels] == ["cold (file evicted)", "warm"]


def test_contenders_are_sorted_by_speed_in_each_panel(chart: BarChart) -> None:
    names = [*MEDIANS, "fastsafetensors"]
    assert [[row.label for row in panel.rows] for panel in chart.panels] == [names, names]
    assert [row.is_ours for row in chart.panels[0].rows] == [True, False, False, False]


def test_each_group_of_bars_has_its_own_limit(chart: BarChart) -> None:
    assert (chart.grouping, chart.groups) == ("destination", ("fresh", "existing"))
    limits = [bar.limit for bar in chart.panels[0].rows[0].bars]
    assert limits == pytest.approx([1.3, 2.2])


def test_bars_hold_median_quartiles_and_all_samples(chart: BarChart) -> None:
    bar = chart.panels[0].rows[0].bars[0]

    assert len(bar.dots) == 6
    assert bar.low <= bar.median <= bar.high
    assert bar.median == pytest.approx(np.median(bar.dots), rel=1e-3)


def test_what_was_not_measured_is_a_row_with_its_reason(chart: BarChart) -> None:
    row = chart.panels[0].rows[-1]

    assert [math.isnan(bar.median) for bar in row.bars] == [True, True]
    assert row.bars[0].note.startswith("skipped: fastsafetensors is not installed")


def test_the_caption_names_machine_commit_samples_cache_and_date(chart: BarChart) -> None:
    for part in (
        "amd-epyc-2c-vm (AMD EPYC, ext4)",
        "commit 62589e8ee7",
        "6 samples a case",
        "cache cold_file, warm",
        "2026-11-21",
    ):
        assert part in chart.caption


def test_axes_begin_at_zero_and_hold_every_bar_and_limit(figure: Figure) -> None:
    for axes in figure.axes:
        left, right = axes.get_xlim()
        bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert left == 0
        assert bars
        assert all(bar.get_x() == 0 and bar.get_width() <= right for bar in bars)


def test_nothing_is_smaller_than_seven_points_or_cut_off(figure: Figure) -> None:
    require_legible(figure)


def test_no_text_lies_on_another(figure: Figure) -> None:
    require_apart(figure)


def test_ours_differs_from_peers_by_more_than_colour(tmp_path: Path) -> None:
    (chart,) = bar_plan.plan(work_of(tmp_path, interleaved(MEDIANS)))
    with style.house_style():
        (axes,) = draw(chart).axes

    ours, peer, *_ = axes.patches
    assert ours.get_hatch() and not peer.get_hatch()
    assert axes.get_yticklabels()[0].get_fontweight() == "bold"


def test_files_are_png_and_pdf_with_real_fonts(tmp_path: Path, chart: BarChart) -> None:
    saved = save(Plot("figure", replace(chart, panels=chart.panels[:1])), tmp_path)

    assert saved.png.read_bytes().startswith(b"\x89PNG")
    pdf = saved.pdf.read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf


def test_a_few_contenders_share_the_rows_of_a_longer_parameter(tmp_path: Path) -> None:
    records = [
        record(params=params)
        for params in combinations(
            durability=("return", "fdatasync", "fsync", "fsync_dir"), format=("torch", "direct")
        )
    ]

    (chart,) = bar_plan.plan(work_of(tmp_path, records))

    assert (chart.grouping, chart.groups) == ("format", ("torch", "direct"))
    rows = chart.panels[0].rows
    assert [row.label for row in rows] == ["return", "fdatasync", "fsync", "fsync_dir"]
    assert [bar.is_ours for bar in rows[0].bars] == [False, True]


def test_what_a_chart_cannot_hold_makes_charts_of_its_own(tmp_path: Path) -> None:
    records = [
        record(params=params)
        for params in combinations(
            format=("direct", "torch", "hdf5", "lmdb", "npz"),
            model=("a", "b", "c", "d"),
            destination=("fresh", "existing"),
        )
    ]

    charts = list(bar_plan.plan(work_of(tmp_path, records)))

    assert len(charts) == 4
    assert {chart.subtitle for chart in charts} == {f"model={name}" for name in "abcd"}


@pytest.mark.parametrize(
    ("changed", "quantity"),
    [
        ({}, "Throughput, GB/s"),
        ({"bytes": 4096}, "Throughput, MB/s"),
        ({"bytes": None}, "Time, ms"),
        ({"unit": "share of pages"}, "Value, share of pages"),
    ],
)
def test_the_quantity_fits_what_is_known(
    tmp_path: Path, changed: dict[str, object], quantity: str
) -> None:
    (chart,) = bar_plan.plan(work_of(tmp_path, interleaved(MEDIANS, **changed)))

    assert chart.quantity == quantity
    first = chart.panels[0].rows[0].label
    assert first == "direct"


def test_a_benchmark_without_usable_samples_has_no_figure(tmp_path: Path) -> None:
    work = work_of(tmp_path, [record(None, status="failed", reason="x")])

    assert plots([work]) == []


SIZES = {"first_3": 12_000_000, "prefix_25": 64_000_000, "all": 256_000_000}


def subsets() -> list[object]:
    records: list[object] = []
    for name, nbytes in SIZES.items():
        ideal = nbytes / LIMITS["sequential_read"]
        for format, fixed, speed in (("direct", 0.001, 2e9), ("torch", 0.02, 1e9)):
            seconds = fixed + nbytes / speed
            params = {"selector": name, "format": format}
            records += [
                record(seconds, params=params, bytes=nbytes, ideal_seconds=ideal, round=number)
                for number in range(3)
            ]
    return records


def test_lines_over_bytes_name_fixed_cost_and_bandwidth(tmp_path: Path) -> None:
    (chart,) = scaling.plan(work_of(tmp_path, subsets()))

    (panel,) = chart.panels
    assert [line.label for line in panel.lines] == ["direct", "torch"]
    assert panel.lines[0].sizes == tuple(map(float, SIZES.values()))
    assert scaling.fitted(panel.lines[0]) == "1.00 ms + 2.00 GB/s"
    assert len(panel.ideal) == 3


@given(st.floats(1e-6, 1.0), st.floats(1e-12, 1e-6))
def test_the_fit_recovers_a_straight_line(fixed: float, per_byte: float) -> None:
    sizes = [4096.0, 1e6, 1e8, 1e9]
    found = scaling.fit(sizes, [fixed + per_byte * size for size in sizes])

    assert found == pytest.approx((fixed, per_byte), rel=1e-3)


def test_ours_is_drawn_however_slow_and_what_is_not_is_named(tmp_path: Path) -> None:
    speeds = {f"peer{number}": 1e9 + number * 1e8 for number in range(8)} | {"direct": 1e8}
    records = [
        record(nbytes / speed, params={"selector": name, "format": format}, bytes=nbytes)
        for name, nbytes in SIZES.items()
        for format, speed in speeds.items()
    ]

    (chart,) = scaling.plan(work_of(tmp_path, records))

    labels = [line.label for line in chart.panels[0].lines]
    assert labels == [*(f"peer{number}" for number in range(7, 1, -1)), "direct"]
    assert "Not drawn (slower, or fewer sizes): peer0, peer1." in chart.caption


def test_phases_are_stacked_and_the_rest_is_shown(tmp_path: Path) -> None:
    phases = {"open": 0.1, "read": 0.2}
    records = interleaved({"direct": 0.4, "torch": 0.8}, noise=0.0, extra={"phases": phases})

    (chart,) = decomposition.plan(work_of(tmp_path, records))

    assert [stack.label for stack in chart.stacks] == ["direct", "torch"]
    assert dict(chart.stacks[0].phases) == pytest.approx({**phases, "rest": 0.1})
    assert chart.stacks[1].total == pytest.approx(0.8)


def test_a_write_has_the_phases_until_return_and_until_durable(tmp_path: Path) -> None:
    records = interleaved({"direct": 0.4}, noise=0.0, return_seconds=0.3)

    (chart,) = decomposition.plan(work_of(tmp_path, records))

    assert dict(chart.stacks[0].phases) == pytest.approx(
        {"until the call returned": 0.3, "until durable": 0.1}
    )


@pytest.mark.parametrize("records", [subsets, lambda: interleaved(MEDIANS, return_seconds=0.05)])
def test_other_figures_hold_all_their_text(tmp_path: Path, records: object) -> None:
    work = work_of(tmp_path, records())  # type: ignore[operator]
    (chart,) = [*scaling.plan(work), *decomposition.plan(work)]
    with style.house_style():
        require_legible(draw(chart))


def test_the_first_figure_of_each_benchmark_comes_before_the_second_of_any(tmp_path: Path) -> None:
    names = ("m.A.time_x", "m.B.time_x")
    records = [
        record(benchmark=name, params=params)
        for name in names
        for params in combinations(format=("direct", "torch", "npz", "lmdb"), model="abcd")
    ]
    path = write_run(tmp_path / "run.jsonl", records)

    found = [plot.chart.title for plot in plots(analyse(load([path])).works)]

    assert found == list(names) * 4


def test_names_of_files_are_plain_and_unique() -> None:
    assert unique_names(["a.b[c]", "a.b c ", "ä"]) == ["a_b_c", "a_b_c_2", "figure"]


@given(
    st.text(st.characters(max_codepoint=0x17F, categories=["L", "N", "P", "Zs"]), max_size=60),
    st.floats(0.1, 3),
)
def test_shortened_text_fits(text: str, width: float) -> None:
    assert style.text_width(style.shortened(text, width)) <= max(width, style.text_width("…"))


@given(st.lists(st.text("abcWi.,", min_size=1, max_size=8), max_size=30))
def test_wrapping_loses_nothing(words: list[str]) -> None:
    lines = style.wrapped(" ".join(words), 3.4)

    assert " ".join(lines).split() == words
    assert all(style.text_width(line) <= 3.4 for line in lines)
