"""What a unit of the execution tree needs in this search: its blocks, bytes and counted work."""

from __future__ import annotations

import functools

from bench_core.model_search.candidates import Candidates
from bench_core.model_search.planning import ExecutionTree, Unit
from bench_core.models.chains.resources import BlockResources
from bench_core.snapshots import BlockRef


class UnitsOfWork:
    """A tree whose units know their blocks."""

    def __init__(self, tree: ExecutionTree, candidates: Candidates) -> None:
        self.tree = tree
        self._candidates = candidates
        self._keys = [tree.block_keys(unit) for unit in tree.units]

    def nodes(self, unit: Unit) -> list[int]:
        """Return the nodes of the whole prefix tree that a unit consists of, in order."""
        prefixes = self.tree.prefixes
        return [int(prefixes.nodes[node]) for node in self.tree.nodes(unit)]

    def keys(self, unit: Unit) -> list[str]:
        """Return the keys of the unit's blocks, in order."""
        return self._keys[unit.index]

    def blocks(self, unit: Unit) -> list[BlockRef]:
        """Return the unit's blocks, in order."""
        known = self._candidates.blocks
        return [known[key] for key in self._keys[unit.index]]

    def resources(self, unit: Unit) -> list[BlockResources]:
        """Return what each of its blocks needs for one item."""
        return [self._candidates.resources[key] for key in self._keys[unit.index]]

    def block_bytes(self, unit: Unit) -> int:
        """Return the bytes of the unit's blocks; one that comes twice counts once."""
        distinct = dict(zip(self.keys(unit), self.blocks(unit), strict=True))
        return sum(block.nbytes for block in distinct.values())

    @property
    def output_bytes(self) -> list[int]:
        """For each unit the bytes an item that later units start from: 0 where there are none."""
        return [
            self.resources(unit)[-1].output_bytes if unit.children else 0
            for unit in self.tree.units
        ]

    @property
    def feature_bytes(self) -> list[int]:
        """For each unit the bytes an item of the features of the models that end there."""
        return [
            self.resources(unit)[-1].output[0].nbytes if unit.models else 0
            for unit in self.tree.units
        ]

    @functools.cached_property
    def working_bytes(self) -> int:
        """Most bytes an item that a unit takes while it runs, beside what its order counts."""
        return max(self.working_bytes_of(unit) for unit in self.tree.units)

    def working_bytes_of(self, unit: Unit) -> int:
        """Return the bytes an item that are alive while a unit runs, its input and result left out.

        Where a model ends nothing counts as kept: it may be that nothing starts from there, in
        this round or, when other models have dropped out, in a later one.
        """
        most = before = 0
        for needs in self.resources(unit):
            most = max(most, before + needs.working_bytes)
            before = needs.output_bytes
        return max(0, most - (0 if unit.models else before))
