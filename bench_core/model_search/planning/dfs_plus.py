"""The published order: depth first, the child with the cheapest path first.

Strassenburg et al., "Alsatian", SIGMOD 2025, section 4.2 (DFS+).
"""

from __future__ import annotations

from collections.abc import Sequence

from bench_core.model_search.planning.prefix_tree import ROOT
from bench_core.model_search.planning.schedule import Schedule, Step, scheduled
from bench_core.model_search.planning.units import ExecutionTree


def path_costs(tree: ExecutionTree, sizes: Sequence[int]) -> list[int]:
    """Return for each unit the largest sum of sizes on a path from the input through it."""
    downward = [0] * len(tree.units)
    for unit in tree.units:
        before = downward[unit.parent] if unit.parent != ROOT else 0
        downward[unit.index] = before + sizes[unit.index]
    costs = downward.copy()
    for unit in reversed(tree.units):
        if unit.children:
            costs[unit.index] = max(costs[child] for child in unit.children)
    return costs


def dfs_plus(
    tree: ExecutionTree,
    sizes: Sequence[int],
    retained: Sequence[int],
    *,
    early_release: bool = True,
) -> Schedule:
    """Return the published schedule.

    Args:
        tree: what is walked.
        sizes: bytes an item of each unit's output, until it is released.
        retained: bytes an item of each unit's features, which stay.
        early_release: release an output as soon as the last unit that starts from it has run, and
            not only when all that comes after that one is done, too.
    """
    costs = path_costs(tree, [size + kept for size, kept in zip(sizes, retained, strict=True)])
    steps: list[Step] = []
    # A unit to run, and the unit to release with it: its parent, where it is the last child.
    pending = [(root, ROOT) for root in sorted(tree.roots, key=costs.__getitem__, reverse=True)]
    while pending:
        index, over = pending.pop()
        if index != ROOT:
            steps.append(Step("compute", index))
        if over != ROOT:
            steps.append(Step("release", over))
        if index == ROOT:
            continue
        children = sorted(tree.units[index].children, key=costs.__getitem__)
        if not children:
            steps.append(Step("release", index))
            continue
        if early_release:
            pending.append((children.pop(), index))
        else:
            pending.append((ROOT, index))
        pending += [(child, ROOT) for child in reversed(children)]
    return scheduled(tree, sizes, retained, steps)
