from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chart_builders import BARS, ONE_CASE, SEARCH, results_of, sample, searches, spec
from report_builders import combinations, header, machine, write_run

from harness.errors import InputError
from harness.report.charts import IncomparableError, plan
from harness.report.charts.select import select
from harness.report.load import load
from harness.report.table import Results

ONE = {"engine": "base", "model": "resnet18", "items": 1000}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return results_of(tmp_path_factory.mktemp("select"), searches())


def test_only_usable_samples_of_the_selection_are_drawn(tmp_path: Path) -> None:
    records = [
        sample(1.0, ONE),
        sample(2.0, ONE, extra={"twin": True}),
        sample(3.0, ONE, status="unproved", reason="resident"),
        sample(4.0, ONE, status="failed", reason="wrong"),
        sample(5.0, {**ONE, "model": "vit_l_32"}),
    ]

    found = select(spec("ecdf", select=ONE_CASE), results_of(tmp_path, records))

    assert list(found.rows["number"]) == [1.0]
    assert found.left_out == {"unproved": 1, "failed": 1}
    assert found.fixed == ONE


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        (
            {"x": "engine", "select": {"items": [1000]}},
            "model",
            r"figure fig: the samples differ in model \(resnet18, vit_l_32\): put it on an axis, "
            "or select one",
        ),
        (
            {"x": "engine", "select": {"items": [1000, 2000], "model": ["resnet18"]}},
            "items",
            r"differ in items \(1000, 2000\)",
        ),
    ],
)
def test_a_parameter_that_is_nowhere_is_refused(
    results: Results, fields: dict[str, Any], field: str, text: str
) -> None:
    with pytest.raises(IncomparableError, match=text) as caught:
        plan(spec("grouped_bars", **fields), results)

    assert caught.value.field == field


def test_several_machines_are_refused_unless_asked_for(tmp_path: Path) -> None:
    paths = [
        write_run(tmp_path / "a.jsonl", searches(), header("a")),
        write_run(tmp_path / "b.jsonl", searches(), header("b", machine=machine(kernel="6.1"))),
    ]

    with pytest.raises(IncomparableError, match=r"kernel \(6.18.44, 6.1\).*--allow-different"):
        plan(BARS, load(paths))
    mixed = plan(BARS, load(paths, allow_different=True))

    assert set(mixed.points["n"]) == {12}
    assert "Mixed on request: kernel: 6.18.44 against 6.1." in mixed.caption


def test_several_states_of_the_code_are_always_refused(tmp_path: Path) -> None:
    other = machine(git={"commit": "b" * 40, "dirty": False})
    paths = [
        write_run(tmp_path / "a.jsonl", searches(), header("a")),
        write_run(tmp_path / "b.jsonl", searches(), header("b", machine=other)),
    ]

    with pytest.raises(IncomparableError, match=r"commit \(62589e8ee7, bbbbbbbbbb\)") as caught:
        plan(BARS, load(paths, allow_different=True))

    assert caught.value.field == "commit"


def test_the_same_code_under_two_commits_is_one(tmp_path: Path) -> None:
    other = machine(git={"commit": "b" * 40, "dirty": True})
    settings = {"code": "c" * 64}
    paths = [
        write_run(tmp_path / "a.jsonl", searches(), header("a", settings=settings)),
        write_run(tmp_path / "b.jsonl", searches(), header("b", machine=other, settings=settings)),
    ]

    chart = plan(BARS, load(paths))

    assert set(chart.points["n"]) == {12}
    assert "commit 62589e8ee7, bbbbbbbbbb+changes" in chart.caption


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"unit": "bytes"}, "unit"),
        ({"runner": "pytest"}, "runner"),
        ({"cache": {"state": "warm", "proved": True}}, "cache state"),
    ],
)
def test_units_runners_and_cache_states_are_not_mixed(
    tmp_path: Path, changed: dict[str, Any], field: str
) -> None:
    results = results_of(tmp_path, [sample(1.0, ONE), sample(1.0, ONE, **changed)])

    with pytest.raises(IncomparableError, match=f"differ in {field}"):
        plan(spec("ecdf"), results)


def test_points_may_have_different_cache_states(tmp_path: Path) -> None:
    records = [
        sample(1.0, {"cache": state}, cache={"state": state, "proved": True})
        for state in ("warm", "cold_file")
    ]

    chart = plan(spec("grouped_bars", x="cache"), results_of(tmp_path, records))

    assert chart.values("x") == ("cold_file", "warm")
    assert "cache cold_file, warm" in chart.caption


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"x": "modl"}, "x = modl: the benchmark has no such parameter.*did you mean 'model'"),
        ({"select": {"modl": ["a"]}}, "select modl: .*did you mean 'model'"),
        ({"select": {"model": ["resnet81"]}}, "no sample has it; .*did you mean 'resnet18'"),
        ({"benchmark": f"{SEARCH}x"}, f"no sample of benchmark {SEARCH}x; did you mean"),
        ({"x": "engine", "value": "gb_pers"}, "no quantity 'gb_pers'; did you mean 'gb_per_s'"),
        ({"x": "engine", "value": "extra.top5"}, "no sample has extra.top5; did you mean"),
        ({"x": "engine", "value": "efficiency"}, "no sample has efficiency$"),
        ({"base": "base"}, "there is no series"),
        ({"series": "engine", "base": "bass"}, "base = bass: .*did you mean 'base'"),
    ],
)
def test_what_is_misspelt_or_missing_is_named(
    results: Results, fields: dict[str, Any], text: str
) -> None:
    chosen = {"select": ONE_CASE, **fields}

    with pytest.raises(InputError, match=f"^figure fig: .*{text}"):
        plan(spec("grouped_bars", **chosen), results)


@pytest.mark.parametrize(("kind", "axis"), [("lines", "x"), ("heat_map", "x"), ("scatter", "x")])
def test_a_kind_says_which_axis_it_needs(results: Results, kind: str, axis: str) -> None:
    with pytest.raises(InputError, match=f"{kind} needs {axis} ="):
        plan(spec(kind), results)


def test_several_benchmarks_need_a_choice(tmp_path: Path) -> None:
    records = [sample(1.0, ONE), sample(1.0, ONE, benchmark="other.Class.time_it")]

    with pytest.raises(InputError, match=r"several benchmarks .*set benchmark to one of them"):
        plan(spec("ecdf"), results_of(tmp_path, records))


def test_without_usable_samples_the_statuses_are_said(tmp_path: Path) -> None:
    results = results_of(tmp_path, [sample(None, ONE, status="skipped", reason="no disk")])

    with pytest.raises(InputError, match="figure fig: there is no usable sample: 1 sample skipped"):
        plan(spec("ecdf"), results)


@pytest.mark.parametrize(
    ("fields", "order"),
    [
        ({}, ("b", "a", "c")),
        ({"base": "c"}, ("c", "b", "a")),
        ({"labels": {"a": "A", "c": "C", "b": "B"}}, ("a", "c", "b")),
        ({"labels": {"a": "A"}}, ("b", "a", "c")),
        ({"select": {"way": ["c", "a"]}}, ("c", "a")),
    ],
)
def test_values_stand_in_the_order_of_the_description(
    tmp_path: Path, fields: dict[str, Any], order: tuple[str, ...]
) -> None:
    records = [sample(1.0, params) for params in combinations(way=["b", "a", "c"])]

    found = select(spec("grouped_bars", series="way", **fields), results_of(tmp_path, records))

    assert found.orders["series"] == order


def test_numbers_stand_as_numbers_go(tmp_path: Path) -> None:
    records = [sample(1.0, params) for params in combinations(items=[1000, 64, 512])]

    found = select(spec("lines", x="items"), results_of(tmp_path, records))

    assert found.orders["x"] == (64, 512, 1000)
