"""The order of samples, what is left of it, and what is refused before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from run_toys import make_package

from harness.errors import InputError
from harness.experiments.plan import TWIN, Group, Turn, case_id, key_of, plan, remaining
from harness.experiments.sections import Section, parse
from harness.records import Record

BENCHMARK = "work.Toy.time_work"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("plan"), "toys_of_plans")


def section(*comparisons: Mapping[str, Any], rounds: int = 2) -> Section:
    filled = [
        {"name": f"c{number}", "benchmark": BENCHMARK, **comparison}
        for number, comparison in enumerate(comparisons)
    ]
    return parse({"title": "Toys", "rounds": rounds, "comparisons": filled}, "[toy]")


def order(group: Group) -> list[list[tuple[Any, ...]]]:
    return [[(*turn.case.values, turn.is_twin) for turn in turns] for turns in group.rounds]


def record_of(turn: Turn, status: str = "ok") -> Record:
    return Record(
        benchmark=turn.case.benchmark,
        params=turn.case.params,
        status=status,
        round=turn.round,
        extra={TWIN: True} if turn.is_twin else {},
    )


def test_contenders_run_side_by_side_and_backward_in_every_second_round(package: Path) -> None:
    (group,) = plan(section({"params": {"contender": ["a", "b", "c"]}}), package)
    forward = [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2), ("c", 2)]
    backward = [("c", 1), ("b", 1), ("a", 1), ("c", 2), ("b", 2), ("a", 2)]
    assert [[turn[:2] for turn in turns] for turns in order(group)] == [forward, backward]


def test_the_class_s_own_values_stand_where_the_section_gives_none(package: Path) -> None:
    (group,) = plan(section({}, rounds=1), package)
    assert [turn.case.values for turn in group.turns] == [
        ("fine", 1),
        ("other", 1),
        ("fine", 2),
        ("other", 2),
    ]
    assert list(group.turns[0].case.params) == ["contender", "size"]
    assert group.turns[0].case.id == "work.Toy.time_work('fine', 1)"


def test_another_parameter_can_be_the_contender(package: Path) -> None:
    (group,) = plan(section({"contender": "size"}, rounds=1), package)
    assert [turn.case.values for turn in group.turns] == [
        ("fine", 1),
        ("fine", 2),
        ("other", 1),
        ("other", 2),
    ]


def test_a_twin_runs_at_the_other_end_of_its_round(package: Path) -> None:
    settings = {"params": {"contender": ["a", "b"], "size": [1]}, "twins": ["a"]}
    (group,) = plan(section(settings), package)
    forward = [("a", 1, False), ("b", 1, False), ("a", 1, True)]
    assert order(group) == [forward, forward[::-1]]


def test_a_benchmark_without_parameters_has_one_sample_a_round(package: Path) -> None:
    (group,) = plan(section({"benchmark": "work.Plain.time_nothing", "rounds": 3}), package)
    assert [turn.case.id for turn in group.turns] == ["work.Plain.time_nothing"] * 3


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        (
            {"benchmark": "work.Toy.time_wrk"},
            "[toy]: c0.benchmark = 'work.Toy.time_wrk': there is no such benchmark; did you mean "
            "'work.Toy.time_work'?",
        ),
        (
            {"params": {"contendr": ["a"]}},
            "[toy]: c0.params.contendr: Toy has no such parameter; did you mean 'contender'?",
        ),
        (
            {"params": {"size": ["1"]}},
            "[toy]: c0.params.size = '1': expected int, such as 1",
        ),
        ({"params": {"size": [True]}}, "[toy]: c0.params.size = True: expected int"),
        ({"params": {"contender": [1]}}, "[toy]: c0.params.contender = 1: expected str"),
        ({"params": {"size": [3, 3]}}, "[toy]: c0.params.size: a value stands there twice"),
        (
            {"params": {"contender": ["impossible"]}},
            "[toy]: c0.params.contender: that is impossible",
        ),
        (
            {"contender": "sise"},
            "[toy]: c0.contender = 'sise': no such parameter; did you mean 'size'?",
        ),
        ({"twins": ["nobody"]}, "[toy]: c0.twins: 'nobody' is not among the contenders"),
        (
            {"benchmark": "work.Closed.time_nothing", "params": {"way": ["thred"]}},
            "[toy]: c0.params.way = 'thred': expected one of thread, process; did you mean "
            "'thread'?",
        ),
    ],
)
def test_what_does_not_exist_is_refused_in_one_line(
    package: Path, comparison: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InputError) as raised:
        plan(section(comparison), package, "[toy]")
    assert str(raised.value).startswith(expected)
    assert "\n" not in str(raised.value)


def test_a_case_can_be_in_one_comparison_only(package: Path) -> None:
    overlapping = [{"params": {"size": [1, 2]}}, {"params": {"size": [2]}}]
    with pytest.raises(InputError, match=r"c0 and c1 both measure work.Toy.time_work\('fine', 2\)"):
        plan(section(*overlapping), package, "[toy]")


def test_what_is_left_leaves_out_samples_that_were_taken(package: Path) -> None:
    settings = {"params": {"contender": ["a", "b"], "size": [1]}, "twins": ["a"]}
    groups = plan(section(settings), package)
    taken = [record_of(turn) for turn in groups[0].turns[:4]]
    (left,) = remaining(groups, taken)
    assert [turn.key for turn in left.turns] == [turn.key for turn in groups[0].turns[4:]]
    assert len(left.rounds) == 2
    assert remaining(groups, [record_of(turn) for turn in groups[0].turns])[0].turns == []


def test_a_failed_sample_is_taken_and_a_skipped_case_stays_skipped(package: Path) -> None:
    groups = plan(section({"params": {"contender": ["a", "b"], "size": [1]}}), package)
    first, second = groups[0].turns[:2]
    (left,) = remaining(groups, [record_of(first, "failed"), record_of(second, "skipped")])
    assert [turn.key for turn in left.turns] == [(first.case.id, 1, False)]


def test_a_record_is_known_by_the_key_of_its_turn(package: Path) -> None:
    (group,) = plan(section({"twins": ["fine"]}), package)
    for turn in group.turns:
        assert key_of(record_of(turn)) == turn.key
        assert case_id(record_of(turn)) == turn.case.id
