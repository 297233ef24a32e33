"""Stored models as prefix queries see them, their layers' names, and architectures to ask for."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from harness.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bench_core.weight_transfer.graphs import ArchitectureGraph
    from bench_core.weight_transfer.prefix import Match
    from bench_core.weight_transfer.prefix_index import PrefixIndex
    from bench_core.weight_transfer.spaces.base import Archs, SearchSpace
    from benchmarks.support.redis_names import RedisNames

SPACES: Final = {"chain": "feed-forward", "skip": "dense-skip"}
"""Kinds of stored models, and the search space that they come from."""
QUERIES: Final = 200
"""Different architectures that are asked for."""
NAME_BYTES: Final = 16
"""As many as the names of `ArchitectureGraph` have."""
STRANGE_CHOICE: Final = 1000
"""Added to choices: there is none of these numbers in any model that is stored."""


class StoredNames:
    """The layers' names of ``n`` models of one kind, and what is made of them.

    ``chain``: every choice is a layer, so that each model has exactly ``layers`` of them; their
    names are those of the population's name matrix, drawn out to 16 bytes. ``skip``: graphs of
    `DenseSkip` with ``layers`` stages, and their own names.
    """

    def __init__(self, space: str, n: int, layers: int, seed: int) -> None:
        from bench_core.weight_transfer.population import generate

        self.space, self.n, self.layers, self.seed = space, n, layers, seed
        self.population = generate(search_space(space, layers), n, seed)
        self._best: dict[tuple[int, int], Match | None] = {}

    @functools.cached_property
    def names(self) -> list[tuple[bytes, ...]]:
        """For each model, whose id is its position, the names of its layers."""
        if self.space == "chain":
            return matrix_names(self.population.names)
        return [self.population.space.build(row).names for row in self.population.archs]

    @functools.cached_property
    def sets(self) -> list[frozenset[bytes]]:
        """The same as sets."""
        return [frozenset(names) for names in self.names]

    @functools.cached_property
    def index(self) -> PrefixIndex:
        """The inverted index of all models."""
        return filled_index(self.names)

    @functools.cached_property
    def redis(self) -> RedisNames:
        """The names of all models in the Redis server of this process."""
        from benchmarks.support.redis_names import RedisNames

        return RedisNames(self.names)

    def queries(self, match: int, count: int) -> list[ArchitectureGraph]:
        """Return architectures that have ``match`` percent of their choices with a stored model.

        0: not even the input is the same; 50: a stored model with the later half drawn anew; 100:
        a stored model. Always the same ones, but new objects, that know their names and nothing
        else that a query may derive from them.
        """
        import numpy as np

        random = np.random.default_rng([self.seed, match])
        space = self.population.space
        fresh = space.random(QUERIES, random)[:count]
        rows = self.population.archs[random.integers(self.n, size=QUERIES)[:count]]
        kept = rows.shape[1] * match // 100
        rows[:, kept:] = fresh[:, kept:]
        if self.space == "chain":
            return _named_chains(rows if match else rows + np.uint16(STRANGE_CHOICE))
        if not match:
            space = search_space(self.space, self.layers, inputs=65)
        return _named([space.build(row) for row in rows])

    def best(self, match: int, query: int, child: ArchitectureGraph) -> Match | None:
        """Return the right answer to a query, from a comparison with every model."""
        key = (match, query)
        if key not in self._best:
            self._best[key] = local_scan(self.sets, child)
        return self._best[key]


def search_space(name: str, layers: int, inputs: int = 64) -> SearchSpace:
    """Return the search space of a kind of models.

    Raises:
        InputError: there is no such kind.
    """
    from bench_core.weight_transfer import spaces

    if name not in SPACES:
        raise InputError(f"unknown space {name!r}; expected one of {', '.join(SPACES)}")
    return spaces.get(SPACES[name], layers=layers, inputs=inputs)


def local_scan(sets: list[frozenset[bytes]], child: ArchitectureGraph) -> Match | None:
    """Return the model with the most of a child's names, of several the first; None without any.

    Each model is compared: `prefix.by_intersection` over a whole repository.
    """
    from bench_core.weight_transfer.prefix import Match

    asked = frozenset(child.names)
    counts = [len(asked & names) for names in sets]
    most = max(counts, default=0)
    if not most:
        return None
    donor = counts.index(most)
    positions = tuple(v for v, name in enumerate(child.names) if name in sets[donor])
    return Match(donor, positions, most)


def filled_index(names: list[tuple[bytes, ...]]) -> PrefixIndex:
    """Return the index of models whose ids are their positions."""
    from bench_core.weight_transfer.prefix_index import PrefixIndex

    index = PrefixIndex()
    for model, one in enumerate(names):
        index.add(model, one)
    return index


def matrix_names(matrix: npt.NDArray[np.uint64]) -> list[tuple[bytes, ...]]:
    """Return the rows of a matrix of names, shape (n, L), as names of 16 bytes."""
    import numpy as np

    data = np.stack([matrix, ~matrix], axis=-1).tobytes()
    length = NAME_BYTES * matrix.shape[1]
    return [
        tuple(data[at : at + NAME_BYTES] for at in range(row, row + length, NAME_BYTES))
        for row in range(0, len(data), length)
    ]


def named_chain(names: tuple[bytes, ...]) -> ArchitectureGraph:
    """Return a chain of as many layers, all alike, that goes by these names."""
    from bench_core.weight_transfer.graphs import sequential
    from bench_core.weight_transfer.layers import dense

    graph = sequential([dense((64,), 64)] * len(names))
    vars(graph)["names"] = names  # where the cached property keeps what it computed
    return graph


def _named_chains(rows: Archs) -> list[ArchitectureGraph]:
    from bench_core.weight_transfer.prefix_names import prefix_names

    return [named_chain(names) for names in matrix_names(prefix_names(rows))]


def _named(graphs: list[ArchitectureGraph]) -> list[ArchitectureGraph]:
    for graph in graphs:
        graph.names  # noqa: B018  # computed now, and kept
    return graphs
