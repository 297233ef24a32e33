"""The orders: the paper's own examples, every order tried on small trees, and their invariants."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from planning_trees import Named, every_order, least_peak_by_trying, named, small_trees

from bench_core.model_search.planning import (
    ExecutionTree,
    PlanError,
    PrefixTree,
    Step,
    best_order,
    dfs_plus,
    simulate,
)
from bench_core.model_search.planning.best_order import _Planner
from bench_core.model_search.planning.dfs_plus import path_costs

FIGURE_9 = {0: [1], 1: [2, 3], 2: [4, 5], 3: [6, 7]}
SIZES_9 = {1: 9, 2: 6, 3: 4, 4: 4, 5: 2, 6: 2, 7: 2}


def test_figure_9_of_the_paper() -> None:
    case = named(FIGURE_9, SIZES_9)
    costs = dict(zip(case.names, path_costs(case.tree, case.sizes), strict=True))
    assert [costs[leaf] for leaf in (4, 5, 6, 7)] == [19, 17, 15, 15]
    schedule = dfs_plus(case.tree, case.sizes, case.retained)
    assert schedule.peak == 15
    order = case.order(schedule.steps)
    assert order[:2] == [1, 3]
    assert order[-3:] == [2, 5, 4]


def test_the_paper_s_first_scenario_is_beaten_by_an_order_that_is_not_depth_first() -> None:
    case = named(FIGURE_9, SIZES_9 | {2: 1, 3: 1})
    assert dfs_plus(case.tree, case.sizes, case.retained).peak == 12
    best = best_order(case.tree, case.sizes, case.retained)
    assert best.peak == 11
    assert set(case.order(best.steps)[:3]) == {1, 2, 3}


def test_the_paper_s_second_scenario() -> None:
    case = named(FIGURE_9, {1: 9, 2: 7, 3: 6, 4: 1, 5: 1, 6: 1, 7: 1})
    assert dfs_plus(case.tree, case.sizes, case.retained).peak == 16


@pytest.mark.parametrize(
    ("children", "sizes", "retained", "peak", "path"),
    [
        ({0: [2], 2: [4, 6]}, {2: 5}, {}, 5, 5),
        ({0: [2], 2: [4, 6]}, {2: 5}, {4: 2, 6: 5}, 12, 10),
        ({0: [2], 2: [4, 6, 8]}, {2: 5}, {}, 5, 5),
        ({0: [2], 2: [4, 6, 8]}, {2: 5}, {4: 2, 6: 4, 8: 3}, 14, 9),
        ({0: [1], 1: [2, 10], 2: [4, 6]}, {1: 5, 2: 3}, {}, 8, 8),
        ({0: [1], 1: [2, 10], 2: [4, 6]}, {1: 5, 2: 3}, {4: 2, 6: 1, 10: 4}, 12, 10),
    ],
)
def test_small_examples(
    children: dict[int, list[int]],
    sizes: dict[int, int],
    retained: dict[int, int],
    peak: int,
    path: int,
) -> None:
    case = named(children, sizes, retained)
    assert dfs_plus(case.tree, case.sizes, case.retained).peak == peak
    out = [s + r for s, r in zip(case.sizes, case.retained, strict=True)]
    assert max(path_costs(case.tree, out)) == path


def test_the_cheapest_path_comes_first_and_a_parent_goes_with_its_last_child() -> None:
    case = named({0: [1], 1: [2, 10], 2: [4, 6]}, {1: 5, 2: 3}, {4: 2, 6: 1, 10: 4})
    schedule = dfs_plus(case.tree, case.sizes, case.retained)
    inner = [(s.kind, name) for s in schedule.steps for name in [case.names[s.unit]]]
    assert [step for step in inner if step[0] == "compute" or step[1] in (1, 2)] == [
        ("compute", 1),
        ("compute", 10),
        ("compute", 2),
        ("release", 1),
        ("compute", 6),
        ("compute", 4),
        ("release", 2),
    ]


@pytest.mark.parametrize(
    ("children", "sizes", "n_orders", "early", "late"),
    [
        ({0: [2], 2: [4, 6]}, {2: 5}, 2, 5, 5),
        ({0: [2], 2: [4, 6, 8]}, {2: 5}, 6, 5, 5),
        ({0: [1], 1: [2, 10], 2: [4, 6]}, {1: 5, 2: 3}, 8, 8, 8),
    ],
)
def test_all_orders_of_small_examples(
    children: dict[int, list[int]], sizes: dict[int, int], n_orders: int, early: int, late: int
) -> None:
    case = named(children, sizes)
    for is_early, peak in ((True, early), (False, late)):
        orders = every_order(case, early_release=is_early)
        assert len(orders) == n_orders
        assert min(max(simulate(case.tree, case.sizes, case.retained, o)) for o in orders) == peak
    # The published figure for an early release is what is alive after it, when both have happened.
    assert min(level_between_units(case, order) for order in every_order(case)) == 5


def level_between_units(case: Named, steps: list[Step]) -> int:
    """Return the most that is alive when a unit and the releases behind it are done."""
    levels = simulate(case.tree, case.sizes, case.retained, steps)
    kinds = [step.kind for step in steps[1:]] + ["compute"]
    return max(level for level, kind in zip(levels, kinds, strict=True) if kind == "compute")


def test_units_of_the_published_example() -> None:
    children = {0: [1], 1: [2, 3, 10], 2: [5, 4], 5: [9], 4: [8], 3: [6], 6: [7]}
    case = named(children, dict.fromkeys(range(1, 7), 1))
    keys = sorted(case.tree.block_keys(unit) for unit in case.tree.units)
    assert keys == [["1"], ["10"], ["2"], ["3", "6", "7"], ["4", "8"], ["5", "9"]]
    assert dfs_plus(case.tree, case.sizes, case.retained).peak == 2


@given(case=small_trees(most=6))
@settings(deadline=None)
def test_no_order_of_all_needs_less(case: Named) -> None:
    orders = every_order(case)
    peaks = [max(simulate(case.tree, case.sizes, case.retained, order)) for order in orders]
    assert best_order(case.tree, case.sizes, case.retained).peak == min(peaks)


@given(case=small_trees(most=11))
@settings(deadline=None, max_examples=60)
def test_on_small_trees_no_order_needs_less(case: Named) -> None:
    assert best_order(case.tree, case.sizes, case.retained).peak == least_peak_by_trying(case)


@given(case=small_trees(most=40))
@settings(deadline=None)
def test_every_order_is_whole_and_ours_is_never_above_the_published(case: Named) -> None:
    published = dfs_plus(case.tree, case.sizes, case.retained)
    late = dfs_plus(case.tree, case.sizes, case.retained, early_release=False)
    ours = best_order(case.tree, case.sizes, case.retained)
    bottom_up = _Planner(case.tree, case.sizes, case.retained).schedule()
    for schedule in (published, late, ours, bottom_up):
        levels = simulate(case.tree, case.sizes, case.retained, schedule.steps)
        assert max(levels) == schedule.peak
        assert levels[-1] == sum(case.retained)
    assert ours.peak <= published.peak <= late.peak


@given(case=small_trees(most=9))
@settings(deadline=None)
def test_the_bottom_up_order_promises_what_it_needs(case: Named) -> None:
    planner = _Planner(case.tree, case.sizes, case.retained)
    schedule = planner.schedule()
    if len(case.tree.roots) == 1:
        assert planner.peak[case.tree.roots[0]] == schedule.peak
    assert schedule.peak >= least_peak_by_trying(case)


def test_a_chain_of_thousands_of_branches_needs_no_recursion() -> None:
    deep = [[str(i) for i in range(n)] + [f"end{n}"] for n in range(1, 1500)]
    tree = ExecutionTree.of(PrefixTree.of(deep))
    ones = [1] * len(tree.units)
    assert best_order(tree, ones, ones).peak <= dfs_plus(tree, ones, ones).peak


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([Step("compute", 1)], "not there"),
        ([Step("compute", 0), Step("compute", 0)], "twice"),
        ([Step("compute", 0), Step("release", 0)], "wrong time"),
        ([Step("compute", 0)], "never run"),
    ],
)
def test_a_walk_that_cannot_be_is_found(steps: list[Step], text: str) -> None:
    case = named({0: [1], 1: [2, 3]}, {1: 1})
    with pytest.raises(PlanError, match=text):
        simulate(case.tree, case.sizes, case.retained, steps)
