"""The grid: its cells, what identifies one, the order of its samples, and what is left of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_toys import make_package

from harness.errors import InputError
from harness.experiments.plan import (
    GAVE_UP,
    TWIN,
    Cell,
    Turn,
    case_id,
    case_key_of,
    key_of,
    plan,
    remaining,
)
from harness.experiments.sections import Section, parse
from harness.records import Record

BENCHMARK = "work.Toy.time_work"
WIDE = {"params": {"contender": ["a", "b", "c"], "size": [1, 2]}}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("plan"), "toys_of_plans")


def section(*comparisons: Mapping[str, Any], rounds: int = 2, **settings: Any) -> Section:
    filled = [
        {"name": f"c{number}", "benchmark": BENCHMARK, **comparison}
        for number, comparison in enumerate(comparisons)
    ]
    return parse({"title": "Toys", "rounds": rounds, "comparisons": filled, **settings}, "[toy]")


def order(cell: Cell) -> list[list[tuple[Any, ...]]]:
    return [[(*turn.case.values, turn.is_twin) for turn in turns] for turns in cell.rounds]


def record_of(turn: Turn, status: str = "ok", **extra: Any) -> Record:
    return Record(
        benchmark=turn.case.benchmark,
        params=turn.case.params,
        status=status,
        round=turn.round,
        seed=turn.seed,
        repetition=turn.repetition,
        extra={**({TWIN: True} if turn.is_twin else {}), **extra},
    )


def test_contenders_take_turns_and_all_other_parameters_make_cells(package: Path) -> None:
    cells = plan(section(WIDE), package)
    assert [dict(cell.fixed) for cell in cells] == [{"size": 1}, {"size": 2}]
    for size, cell in enumerate(cells, start=1):
        forward = [(name, size, False) for name in ("a", "b", "c")]
        assert order(cell) == [forward, forward[::-1]]


def test_the_class_s_own_values_stand_where_the_section_gives_none(package: Path) -> None:
    cells = plan(section({}, rounds=1), package)
    assert [turn.case.values for cell in cells for turn in cell.turns] == [
        ("fine", 1),
        ("other", 1),
        ("fine", 2),
        ("other", 2),
    ]
    assert list(cells[0].turns[0].case.params) == ["contender", "size"]
    assert cells[0].turns[0].case.id == "work.Toy.time_work('fine', 1)"


def test_another_parameter_can_be_the_contender(package: Path) -> None:
    cells = plan(section({"contender": "size"}, rounds=1), package)
    assert [dict(cell.fixed) for cell in cells] == [{"contender": "fine"}, {"contender": "other"}]
    assert [turn.case.values for turn in cells[0].turns] == [("fine", 1), ("fine", 2)]


def test_interleaved_parameters_take_turns_in_one_cell(package: Path) -> None:
    (cell,) = plan(section({**WIDE, "interleave": ["size"]}), package)
    forward = [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2), ("c", 2)]
    backward = [("c", 1), ("b", 1), ("a", 1), ("c", 2), ("b", 2), ("a", 2)]
    assert [[turn[:2] for turn in turns] for turns in order(cell)] == [forward, backward]
    assert dict(cell.fixed) == {}


def test_a_twin_runs_at_the_other_end_of_its_round(package: Path) -> None:
    settings = {"params": {"contender": ["a", "b"], "size": [1]}, "twins": ["a"]}
    (cell,) = plan(section(settings), package)
    forward = [("a", 1, False), ("b", 1, False), ("a", 1, True)]
    assert order(cell) == [forward, forward[::-1]]


def test_a_benchmark_without_parameters_has_one_sample_a_round(package: Path) -> None:
    (cell,) = plan(section({"benchmark": "work.Plain.time_nothing", "rounds": 3}), package)
    assert [turn.case.id for turn in cell.turns] == ["work.Plain.time_nothing"] * 3
    assert cell.label == ""


def test_a_comparison_s_own_rounds_count(package: Path) -> None:
    first, second = plan(section({"rounds": 5}, {"benchmark": "work.Plain.time_nothing"}), package)[
        ::2
    ]
    assert (len(first.rounds), len(second.rounds)) == (5, 2)


def test_every_cell_is_measured_with_every_seed_and_again_for_each_repetition(
    package: Path,
) -> None:
    repeated = section(WIDE, {"benchmark": "work.Plain.time_nothing"}, seeds=[0, 7], repetitions=2)
    found = [
        (cell.repetition, cell.comparison, cell.seed, cell.fixed.get("size"))
        for cell in plan(repeated, package)
    ]
    once = [
        ("c0", 0, 1),
        ("c0", 0, 2),
        ("c0", 7, 1),
        ("c0", 7, 2),
        ("c1", 0, None),
        ("c1", 7, None),
    ]
    assert found == [(repetition, *cell) for repetition in (0, 1) for cell in once]
    for cell in plan(repeated, package):
        assert {(turn.seed, turn.repetition) for turn in cell.turns} == {
            (cell.seed, cell.repetition)
        }
    assert plan(repeated, package)[-1].label == "seed=7, repetition=1"
    assert plan(repeated, package)[1].label == "size=2"


def test_no_two_samples_of_a_plan_have_the_same_key(package: Path) -> None:
    settings = {**WIDE, "twins": ["a", "c"]}
    cells = plan(section(settings, seeds=[0, 7], repetitions=2), package)
    keys = [turn.key for cell in cells for turn in cell.turns]
    assert len(keys) == len(set(keys)) == 2 * 2 * 2 * 2 * 5


def test_an_identity_does_not_depend_on_contenders_and_rounds(package: Path) -> None:
    ids = [cell.id for cell in plan(section(WIDE), package)]
    for other in (
        section(WIDE, rounds=9),
        section({"params": {"contender": ["z"], "size": [1, 2]}}),
        section({**WIDE, "twins": ["a"]}),
    ):
        assert [cell.id for cell in plan(other, package)] == ids
    assert [cell.id for cell in plan(section({"params": {"size": [2]}}), package)] == ids[1:]


def test_an_identity_is_of_comparison_benchmark_parameters_seed_and_repetition(
    package: Path,
) -> None:
    (cell,) = plan(section({"params": {"size": [1]}}), package)
    others = [
        replace(cell, comparison="other"),
        replace(cell, benchmark="work.Toy.time_other"),
        replace(cell, fixed={"size": 2}),
        replace(cell, fixed={"size": True}),
        replace(cell, fixed={"size": "1"}),
        replace(cell, fixed={"siz": 1}),
        replace(cell, fixed={}),
        replace(cell, seed=1),
        replace(cell, repetition=1),
    ]
    assert len({cell.id, *(other.id for other in others)}) == len(others) + 1
    assert replace(cell, rounds=()).id == cell.id


@given(
    st.dictionaries(
        st.sampled_from("abcdef"), st.one_of(st.integers(), st.text(), st.booleans()), max_size=4
    ),
    st.randoms(use_true_random=False),
)
def test_an_identity_does_not_depend_on_the_order_of_parameters(
    fixed: dict[str, Any], random: Any
) -> None:
    items = list(fixed.items())
    random.shuffle(items)
    assert Cell("c", BENCHMARK, fixed, ()).id == Cell("c", BENCHMARK, dict(items), ()).id


def test_identities_are_the_same_in_every_process(package: Path) -> None:
    def ids(hash_seed: int) -> str:
        code = (
            "import sys; from pathlib import Path\n"
            "from harness.experiments.plan import plan\n"
            "from harness.experiments.sections import parse\n"
            "comparison = {'name': 'c0', 'benchmark': 'work.Toy.time_work'}\n"
            "content = {'title': 'T', 'comparisons': [comparison], 'seeds': [0, 7]}\n"
            "print(*(cell.id for cell in plan(parse(content, ''), Path(sys.argv[1]))))"
        )
        return subprocess.run(
            [sys.executable, "-c", code, str(package)],
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    here = " ".join(cell.id for cell in plan(section({}, seeds=[0, 7]), package))
    assert [ids(seed).strip() for seed in (1, 2)] == [here, here]


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
        ({"params": {"size": ["1"]}}, "[toy]: c0.params.size = '1': expected int, such as 1"),
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
        (
            {"interleave": ["sise"]},
            "[toy]: c0.interleave = 'sise': no such parameter; did you mean 'size'?",
        ),
        ({"twins": ["nobody"]}, "[toy]: c0.twins: 'nobody' is not among the contenders"),
        ({"twins": ["fine", "fine"]}, "[toy]: c0.twins: a value stands there twice"),
        (
            {"benchmark": "work.Plain.time_nothing", "twins": ["fine"]},
            "[toy]: c0.twins: 'fine' is not among the contenders",
        ),
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
    apart = [{"params": {"size": [1]}}, {"params": {"size": [2]}}]
    assert len(plan(section(*apart), package, "[toy]")) == 2


def test_what_is_left_leaves_out_samples_that_were_taken(package: Path) -> None:
    settings = {"params": {"contender": ["a", "b"], "size": [1]}, "twins": ["a"]}
    (cell,) = plan(section(settings), package)
    left = remaining(cell, [record_of(turn) for turn in cell.turns[:4]])
    assert [turn.key for turn in left.turns] == [turn.key for turn in cell.turns[4:]]
    assert (left.id, len(left.rounds)) == (cell.id, 2)
    assert remaining(cell, map(record_of, cell.turns)).turns == []
    assert remaining(cell, []) == cell


def test_samples_of_another_seed_or_repetition_are_not_those_of_a_cell(package: Path) -> None:
    (cell,) = plan(section({"params": {"size": [1]}}), package)
    others = [replace(record_of(turn), seed=1) for turn in cell.turns]
    others += [replace(record_of(turn), repetition=1) for turn in cell.turns]
    assert remaining(cell, others).turns == cell.turns


def test_a_failed_sample_is_taken_and_a_skipped_or_given_up_case_is_over(package: Path) -> None:
    names = ["failed", "skipped", "gave up"]
    (cell,) = plan(section({"params": {"contender": names, "size": [1]}}, rounds=3), package)
    failed, skipped, gave_up = cell.turns[:3]
    taken = [
        record_of(failed, "failed"),
        record_of(skipped, "skipped"),
        record_of(gave_up, "failed", **{GAVE_UP: True}),
    ]
    assert [turn.key for turn in remaining(cell, taken).turns] == [
        (failed.case.id, 0, 0, 1, False),
        (failed.case.id, 0, 0, 2, False),
    ]


def test_a_record_is_known_by_the_key_of_its_turn(package: Path) -> None:
    settings = section({"twins": ["fine"]}, seeds=[0, 3], repetitions=2)
    for turn in (turn for cell in plan(settings, package) for turn in cell.turns):
        assert key_of(record_of(turn)) == turn.key
        assert case_key_of(record_of(turn)) == turn.case_key
        assert case_id(record_of(turn)) == turn.case.id
