"""An inverted index from layers' names to the models that have them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from bench_core.weight_transfer.graphs import ArchitectureGraph, Name
from bench_core.weight_transfer.prefix import Match, Measure
from bench_core.weight_transfer.prefix_query import PrefixQuery, RankedMatch

_NEVER = float("-inf")


@dataclass(frozen=True)
class _Entry:
    names: frozenset[Name]
    rank: tuple[float, int]
    """Higher is preferred: more accurate, then the smaller id."""


class PrefixIndex:
    """The live models by the names of their layers.

    Of equally long prefixes the more accurate model is the better donor, then the one with the
    smaller id; a model of unknown accuracy comes last. Memory: some 180 bytes for each layer of
    each model that no other model shares, its name included.

    Example:
        >>> from bench_core.models.chains import BlockSpec
        >>> from bench_core.weight_transfer.graphs import Layer, sequential
        >>> a, b, c = (Layer(BlockSpec.of("dense", inputs=8, units=units)) for units in (8, 16, 24))
        >>> index = PrefixIndex()
        >>> index.add(1, sequential([a, b]).names, accuracy=0.5)
        >>> index.add(2, sequential([a, a, c]).names, accuracy=0.4)
        >>> index.best(sequential([a, a, b]))
        Match(donor=2, positions=(0, 1), score=2)
    """

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._holders: dict[Name, int | set[int]] = {}
        """One model as it is, as most names have one; more as a set."""
        self._champions: dict[Name, int] = {}
        """Of names with several holders the preferred one, where it is known."""

    def __len__(self) -> int:
        """Return the number of models."""
        return len(self._entries)

    def __contains__(self, model: object) -> bool:
        """Whether a model is in the index."""
        return model in self._entries

    def add(self, model: int, names: Iterable[Name], accuracy: float | None = None) -> None:
        """Take up a model, in time linear in its layers. One that is there is replaced."""
        self.remove(model)
        rank = (_NEVER if accuracy is None or accuracy != accuracy else accuracy, -model)
        entry = _Entry(frozenset(names), rank)
        self._entries[model] = entry
        for name in entry.names:
            holders = self._holders.get(name)
            if holders is None:
                self._holders[name] = model
            elif isinstance(holders, set):
                holders.add(model)
                self._challenge(name, model)
            else:
                self._holders[name] = {holders, model}
                self._champions[name] = max(holders, model, key=self._rank)

    def remove(self, model: int) -> None:
        """Forget a model; one that is not there is no error."""
        entry = self._entries.pop(model, None)
        if entry is None:
            return
        for name in entry.names:
            holders = self._holders[name]
            if isinstance(holders, set):
                holders.discard(model)
                if self._champions.get(name) == model:
                    del self._champions[name]
                if len(holders) == 1:
                    self._holders[name] = holders.pop()
                    self._champions.pop(name, None)
            else:
                del self._holders[name]

    def best(
        self,
        child: ArchitectureGraph,
        measure: Measure = "layers",
        exclude: Collection[int] = (),
    ) -> Match | None:
        """Return the model with the longest common prefix, or None where none has a layer.

        Models in ``exclude`` are passed over, in time linear in those that have the same layers.

        Raises:
            UnknownNameError: there is no such measure.
        """
        found = self.answer(PrefixQuery.of(child, measure), exclude)
        return None if found is None else found.match

    def answer(self, query: PrefixQuery, exclude: Collection[int] = ()) -> RankedMatch | None:
        """Return the same as `best`, comparable with what other indexes answer.

        The layers are looked up from the last to the first. Where a layer has all before it in its
        cone, whoever has it has all of them: the preferred one is at hand, and the search ends.
        So a chain takes one look-up for each layer that nobody has, and one more. Elsewhere each
        model that has the layer is scored, until no other can have as much.
        """
        names, weights, cones = query.names, query.weights, query.cones
        bound = sum(weights)
        best: tuple[int, tuple[float, int]] | None = None
        seen: set[int] = set()
        for v in range(len(names) - 1, -1, -1):
            if best is not None and best[0] > bound:
                break
            holders = self._holders.get(names[v])
            if holders is not None:
                if is_whole := cones[v] == (2 << v) - 1:
                    candidates: Collection[int] = self._preferred(names[v], exclude)
                else:
                    candidates = {holders} if isinstance(holders, int) else holders - seen
                    seen.update(candidates)
                    candidates = [model for model in candidates if model not in exclude]
                for model in candidates:
                    found = (self._score(model, names, weights), self._rank(model))
                    best = found if best is None else max(best, found)
                if is_whole and weights[v] and candidates:
                    break  # a layer that counts nothing leaves equals among those without it
            bound -= weights[v]
        if best is None:
            return None
        score, (accuracy, smaller) = best
        has = self._entries[-smaller].names
        positions = tuple(v for v, name in enumerate(names) if name in has)
        return RankedMatch(Match(-smaller, positions, score), accuracy)

    def coverage(self, child: ArchitectureGraph) -> tuple[int, ...]:
        """Return the child's layers that any model has: what several donors could give."""
        return tuple(v for v, name in enumerate(child.names) if name in self._holders)

    def holders(self, name: Name) -> frozenset[int]:
        """Return the models that have a layer."""
        holders = self._holders.get(name, set())
        return frozenset((holders,) if isinstance(holders, int) else holders)

    def _rank(self, model: int) -> tuple[float, int]:
        return self._entries[model].rank

    def _challenge(self, name: Name, model: int) -> None:
        champion = self._champions.get(name)
        if champion is not None and self._rank(model) > self._rank(champion):
            self._champions[name] = model

    def _preferred(self, name: Name, exclude: Collection[int]) -> tuple[int, ...]:
        """Return the one to take of those that have a layer; none where all are excluded."""
        champion = self._champion(name)
        if champion not in exclude:
            return (champion,)
        others = [model for model in self.holders(name) if model not in exclude]
        return (max(others, key=self._rank),) if others else ()

    def _champion(self, name: Name) -> int:
        """Return the preferred of those that have a layer; looked for anew when it was removed."""
        holders = self._holders[name]
        if isinstance(holders, int):
            return holders
        champion = self._champions.get(name)
        if champion is None:
            champion = self._champions[name] = max(holders, key=self._rank)
        return champion

    def _score(self, model: int, names: Sequence[Name], weights: Sequence[int]) -> int:
        has = self._entries[model].names
        return sum(count for name, count in zip(names, weights, strict=True) if name in has)
