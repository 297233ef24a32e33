"""The execution tree: runs of blocks that no model branches off from, as units of work."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from bench_core.model_search.planning.prefix_tree import ROOT, Bools, Ints, PrefixTree


@dataclass(frozen=True)
class Unit:
    """Neighbouring blocks that always run together."""

    index: int
    parent: int
    """The unit whose output it starts from; -1: the input."""
    models: tuple[int, ...]
    """That end at its end: identical ones together."""
    children: tuple[int, ...]


@dataclass(frozen=True)
class ExecutionTree:
    """Units in an order in which each stands behind its parent.

    A unit ends where models branch off and where a model ends, also when others go on from there.
    """

    prefixes: PrefixTree
    units: tuple[Unit, ...]
    last_node: Ints
    """``(n_units,)``: the prefix tree's node at the end of each unit."""

    @classmethod
    def of(cls, prefixes: PrefixTree, borders: Bools | None = None) -> ExecutionTree:
        """Return the compressed tree.

        Args:
            prefixes: the tree of blocks.
            borders: nodes of the whole tree at which a unit ends in any case: see `borders_of`. The
                units of fewer models are then no longer than those of all.
        """
        is_last = borders_of(prefixes)
        if borders is not None:
            is_last |= borders[prefixes.nodes]
        last_node = np.flatnonzero(is_last)
        number = np.cumsum(is_last) - 1
        above = _unit_ends_above(prefixes, is_last)[last_node]
        parents = np.where(above == ROOT, ROOT, number[above]).tolist()
        models: dict[int, list[int]] = defaultdict(list)
        for unit, model in zip(
            number[prefixes.ends].tolist(), prefixes.models.tolist(), strict=True
        ):
            models[unit].append(model)
        children: dict[int, list[int]] = defaultdict(list)
        for unit, parent in enumerate(parents):
            children[parent].append(unit)
        units = tuple(
            Unit(unit, parent, tuple(models[unit]), tuple(children[unit]))
            for unit, parent in enumerate(parents)
        )
        return cls(prefixes, units, last_node)

    @property
    def roots(self) -> tuple[int, ...]:
        """The units that start from the input."""
        return tuple(unit.index for unit in self.units if unit.parent == ROOT)

    def nodes(self, unit: Unit) -> list[int]:
        """Return the prefix tree's nodes that a unit consists of, in order."""
        stop = self.last_node[unit.parent] if unit.parent != ROOT else ROOT
        node, nodes = self.last_node[unit.index], []
        while node != stop:
            nodes.append(int(node))
            node = self.prefixes.parent[node]
        return nodes[::-1]

    def block_keys(self, unit: Unit) -> list[str]:
        """Return the keys of a unit's blocks, in order."""
        return [self.prefixes.key(node) for node in self.nodes(unit)]


def borders_of(prefixes: PrefixTree) -> Bools:
    """Return the nodes at which units end: where models branch off, and where one ends."""
    inner = prefixes.parent[prefixes.parent != ROOT]
    is_last: Bools = np.bincount(inner, minlength=prefixes.n_nodes) != 1
    is_last[prefixes.ends] = True
    return is_last


def _unit_ends_above(prefixes: PrefixTree, is_last: Bools) -> Ints:
    """Return for each node the nearest end of a unit above it, or `ROOT`."""
    above: Ints = prefixes.parent.copy()
    borders = np.searchsorted(prefixes.depth, np.arange(prefixes.depth[-1] + 2))
    for start, stop in itertools.pairwise(borders[1:]):
        parent = prefixes.parent[start:stop]
        above[start:stop] = np.where(is_last[parent], parent, above[parent])
    return above
