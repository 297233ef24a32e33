"""Trees for the planner's tests, from the child lists in which papers write them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from bench_core.model_search.planning import ExecutionTree, PrefixTree, Step


@dataclass(frozen=True)
class Named:
    """A tree with the sizes of its nodes, and the names that its units have in the source."""

    tree: ExecutionTree
    sizes: list[int]
    retained: list[int]
    names: list[int]

    def order(self, steps: Sequence[object]) -> list[int]:
        """Return the names in the order in which the units run."""
        return [self.names[s.unit] for s in steps if s.kind == "compute"]  # type: ignore[attr-defined]


def named(
    children: Mapping[int, Sequence[int]],
    sizes: Mapping[int, int],
    retained: Mapping[int, int] | None = None,
) -> Named:
    """Return the tree in which the nodes of ``children`` hang under the input, node 0."""
    chains: list[list[str]] = []
    pending: list[tuple[int, list[str]]] = [(0, [])]
    while pending:
        node, path = pending.pop(0)
        below = children.get(node, ())
        pending += [(child, [*path, str(child)]) for child in below]
        if not below:
            chains.append(path)
    tree = ExecutionTree.of(PrefixTree.of(chains))
    names = [int(tree.block_keys(unit)[-1]) for unit in tree.units]
    kept = retained or {}
    return Named(tree, [sizes.get(n, 0) for n in names], [kept.get(n, 0) for n in names], names)


@st.composite
def small_trees(draw: st.DrawFn, most: int = 8) -> Named:
    """Draw a tree of at most so many units, with sizes and retained features."""
    count = draw(st.integers(1, most))
    parents = [draw(st.integers(-1, index - 1)) for index in range(count)]
    children: dict[int, list[int]] = {}
    for index, parent in enumerate(parents):
        children.setdefault(parent + 1, []).append(index + 1)
    size = st.integers(0, 9)
    sizes = {node + 1: draw(size) for node in range(count)}
    leaves = [node for node in sizes if node not in children]
    return named(children, sizes, {node: draw(size) for node in leaves})


def least_peak_by_trying(case: Named) -> int:
    """Return the least peak of all orders: a best-first search over sets of units, by itself."""
    tree, count = case.tree, len(case.tree.units)
    out = [s + r for s, r in zip(case.sizes, case.retained, strict=True)]

    def live(ran: frozenset[int]) -> int:
        kept = sum(case.retained[u] for u in ran)
        waiting = (u for u in ran if any(c not in ran for c in tree.units[u].children))
        return kept + sum(case.sizes[u] for u in waiting)

    queue, seen = [(0, 0, frozenset[int]())], set()
    ties = 0
    while True:
        peak, _, ran = heapq.heappop(queue)
        if len(ran) == count:
            return peak
        if ran in seen:
            continue
        seen.add(ran)
        for unit in tree.units:
            if unit.index not in ran and (unit.parent < 0 or unit.parent in ran):
                ties += 1
                top = max(peak, live(ran) + out[unit.index])
                heapq.heappush(queue, (top, ties, ran | {unit.index}))


def every_order(case: Named, *, early_release: bool = True) -> list[list[Step]]:
    """Return all orders there are, each output released with the last unit that starts from it.

    Without early release that happens one step later.
    """
    return [with_releases(case, order, early_release) for order in _orders(case, [])]


def with_releases(case: Named, order: Sequence[int], early_release: bool) -> list[Step]:
    """Return the steps of an order."""
    steps: list[Step] = []
    there: list[int] = []
    late: list[int] = []
    for position, unit in enumerate(order):
        steps += [Step("release", over) for over in late]
        steps.append(Step("compute", unit))
        there.append(unit)
        ran = set(order[: position + 1])
        over = [u for u in there if ran.issuperset(case.tree.units[u].children)]
        there = [u for u in there if u not in over]
        late = [] if early_release else over
        steps += [Step("release", u) for u in over if early_release]
    return steps + [Step("release", unit) for unit in late]


def _orders(case: Named, ran: list[int]) -> Iterator[list[int]]:
    if len(ran) == len(case.tree.units):
        yield ran
    for unit in case.tree.units:
        if unit.index not in ran and (unit.parent < 0 or unit.parent in ran):
            yield from _orders(case, [*ran, unit.index])
