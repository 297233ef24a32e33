"""Work of later rounds that is sure to come, done while blocks are still being read.

The first round needs every block and few items, so it waits for the disk; the rounds after it have
the blocks and many items. What is common to so many models that one of them will be left is run
over items of later rounds meanwhile. The blocks and batches are those of the later rounds, so no
bit of any result depends on it, and nothing is computed that would not have been.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from bench_core.model_search.batches import Batch, LaterRound
from bench_core.model_search.context import Context
from bench_core.model_search.inputs import InputFeeder
from bench_core.model_search.planning import PrefixTree, Unit, sure_path
from bench_core.model_search.planning.prefix_tree import ROOT, Bools
from bench_core.model_search.units_of_work import UnitsOfWork
from bench_core.models.chains import Activation, nbytes_of


@dataclass
class _Walk:
    """How far a batch has come along a path of blocks."""

    batch: Batch
    done: list[int] = field(default_factory=list)
    """Nodes that have run."""
    path: list[int] = field(default_factory=list)
    """Nodes that may run next."""
    kept: dict[int, Activation] = field(default_factory=dict)
    """By node: what the next one starts from, and what other models may branch off from; under
    `ROOT` the input."""

    @property
    def nbytes(self) -> int:
        return sum(map(nbytes_of, self.kept.values()))


class WorkAhead:
    """Outputs of blocks over batches of later rounds, until these rounds take them over."""

    def __init__(
        self,
        context: Context,
        feeder: InputFeeder,
        prefixes: PrefixTree,
        borders: Bools,
        module: Callable[[str], nn.Module | None],
    ) -> None:
        """Begin without any work.

        Args:
            context: the search.
            feeder: makes inputs.
            prefixes: the tree of all models.
            borders: its nodes at which models branch off, or end.
            module: returns a block by its key if it is in memory.
        """
        self._context, self._feeder = context, feeder
        self._prefixes, self._borders = prefixes, borders
        self._module = module
        self._walks: dict[Batch, _Walk] = {}
        self._open: list[_Walk] = []
        self._has_several_roots = int(np.count_nonzero(prefixes.parent == ROOT)) > 1
        """Whether there are several base models, which start from the same input."""

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept."""
        return sum(walk.nbytes for walk in self._walks.values())

    def foresee(self, live: Sequence[int], later: Sequence[LaterRound], room: int) -> None:
        """Choose what may be worked on: batches in their order, as many as there is room for.

        Args:
            live: the models that are in the search now.
            later: what the rounds to come will add.
            room: bytes that may be kept beside what is.
        """
        self._open = []
        if room <= 0 or not later:
            return
        through = self._prefixes.models_through(live)
        kept = {batch: self._bytes_of(batch) for round_ in later for batch in round_.batches}
        room += sum(kept.values())
        for round_ in later:
            path = sure_path(self._prefixes, through, max(0, len(live) - round_.n_models))
            if not path:
                return
            item_bytes = self._item_bytes(path)
            for batch in round_.batches:
                room -= max(item_bytes * len(batch), kept[batch])
                if room < 0:
                    return
                self._admit(batch, path)

    def step(self) -> bool:
        """Do the next thing that can be done now; return whether there was one."""
        return any(self._advance(walk) for walk in self._open)

    def has_begun(self, work: UnitsOfWork, unit: Unit, batch: Batch) -> bool:
        """Whether a unit has something to go on from: see `take`."""
        walk = self._walks.get(batch)
        if walk is None:
            return False
        places = work.nodes(unit) if unit.parent != ROOT else [ROOT, *work.nodes(unit)]
        return not walk.kept.keys().isdisjoint(places)

    def take(self, work: UnitsOfWork, unit: Unit, batch: Batch) -> tuple[int, Activation | None]:
        """Give away what was done of a unit.

        Returns:
            How many of its blocks have run, and the last one's output; of none the input, where
            the unit starts from it and it was made, else None.
        """
        walk = self._walks.get(batch)
        if walk is None:
            return 0, None
        nodes = work.nodes(unit)
        for n_done in range(len(nodes), 0, -1):
            if nodes[n_done - 1] in walk.kept:
                return n_done, self._let_go(walk, nodes[n_done - 1])
        # Kept: another base model may start from the input, too.
        return 0, walk.kept.get(ROOT) if unit.parent == ROOT else None

    def forget(self, batches: Iterable[Batch]) -> None:
        """Forget what there is of batches that are done."""
        for batch in batches:
            if batch in self._walks:
                walk = self._walks.pop(batch)
                for place in list(walk.kept):
                    self._let_go(walk, place)

    def clear(self) -> None:
        """Forget everything."""
        self._open = []
        self.forget(list(self._walks))

    def _bytes_of(self, batch: Batch) -> int:
        walk = self._walks.get(batch)
        return 0 if walk is None else walk.nbytes

    def _item_bytes(self, path: Sequence[int]) -> int:
        """Return the most bytes an item that a walk along a path keeps."""
        resources = self._context.candidates.resources
        sizes = {node: resources[self._prefixes.key(node)].output_bytes for node in path}
        at_borders = sum(size for node, size in sizes.items() if self._borders[node])
        inside = max((size for node, size in sizes.items() if not self._borders[node]), default=0)
        return at_borders + inside + self._context.candidates.input_bytes

    def _admit(self, batch: Batch, path: Sequence[int]) -> None:
        walk = self._walks.setdefault(batch, _Walk(batch))
        n_done = len(walk.done)
        if list(path[:n_done]) == walk.done:
            walk.path = list(path[n_done:])
            self._open.append(walk)

    def _advance(self, walk: _Walk) -> bool:
        """Make the input of a batch, or run its next block if that is in memory."""
        if not walk.path:
            return False
        meter = self._context.meter
        if not walk.done and ROOT not in walk.kept:
            with meter.phase("prepare_data"):
                self._keep(walk, ROOT, self._feeder.once(walk.batch))
            return True
        node = walk.path[0]
        module = self._module(self._prefixes.key(node))
        if module is None:
            return False
        last = walk.done[-1] if walk.done else ROOT
        with self._context.computing():
            output = module(walk.kept[last])
        meter.count("block_executions")
        meter.count("item_blocks", len(walk.batch))
        self._keep(walk, node, output)
        if not self._branches_at(last):
            self._let_go(walk, last)
        walk.done.append(walk.path.pop(0))
        return True

    def _branches_at(self, node: int) -> bool:
        """Whether something else may start from a node's output, too."""
        return self._has_several_roots if node == ROOT else bool(self._borders[node])

    def _keep(self, walk: _Walk, place: int, output: Activation) -> None:
        walk.kept[place] = output
        self._context.meter.hold("activations", nbytes_of(output))

    def _let_go(self, walk: _Walk, place: int) -> Activation:
        output = walk.kept.pop(place)
        self._context.meter.hold("activations", -nbytes_of(output))
        return output
