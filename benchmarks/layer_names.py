"""What it costs to name the layers of an architecture by all that lies before them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from benchmarks.populations import check_search_space
from harness.benchmark import Benchmark
from harness.errors import WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    from bench_core.weight_transfer.graphs import ArchitectureGraph

DIGESTS: Final = ("blake2b", "sha3_512")
SPACES: Final = ("feed-forward", "dense-skip")
GRAPHS: Final = 20
"""Architectures that are named in one sample."""


class LayerNames(Benchmark):
    """Inside the clock: the Merkle names of all layers of 20 architectures, seconds a layer.

    ``blake2b`` is `ArchitectureGraph.names`; ``sha3_512`` names by the digest of the published
    DStore instead. Both begin with layers as plain data, whose own digests are inside. The
    architectures are drawn from a search space of ``layers`` nodes or stages and built before.
    What is checked: two architectures have those names in common that a walk of both graphs finds
    to be the same layers. A digest of some hundred bytes is bound by the call, not by a bandwidth:
    there is no ideal time.
    """

    params = (DIGESTS, SPACES, (10, 50))
    param_names = ("digest", "space", "layers")
    quick = {"digest": DIGESTS}
    open_params: ClassVar[Sequence[str]] = ("space",)
    unit = "seconds"

    @classmethod
    def check_param(cls, name: str, value: Param) -> None:
        """Check the search space."""
        check_search_space(str(value))

    def prepare(self, digest: str, space: str, layers: int) -> None:
        import numpy as np

        from bench_core.weight_transfer import spaces

        drawn = spaces.get(space, layers=layers)
        rows = drawn.random(GRAPHS, np.random.default_rng(self.seed))
        # Neighbours share all but the last choice, so that there is something in common.
        rows[1::2, :-1] = rows[::2, :-1]
        self.graphs = [drawn.build(row) for row in rows]  # anew: names and digests are kept
        self.n_layers = sum(map(len, self.graphs))
        self.names = _NAMES[digest]

    def track_names(self, digest: str, space: str, layers: int) -> float:
        began = time.perf_counter()
        self.found = [self.names(graph) for graph in self.graphs]
        return (time.perf_counter() - began) / self.n_layers

    def verify(self) -> None:
        from bench_core.weight_transfer.prefix import by_frontier

        for number in range(0, GRAPHS, 2):
            parent, child = self.graphs[number], self.graphs[number + 1]
            known = set(self.found[number])
            same = tuple(v for v, name in enumerate(self.found[number + 1]) if name in known)
            expected = by_frontier(parent, child)
            if same != expected:
                raise WrongResultError(
                    f"{len(same)} layers of a child have the names of its parent's, "
                    f"{len(expected)} are the same"
                )
        self.note(layers_of_models=self.n_layers)


def sha3_names(graph: ArchitectureGraph) -> Sequence[bytes]:
    """Return names as `ArchitectureGraph.names` makes them, by SHA3-512."""
    names: list[bytes] = []
    for layer, before, twin in zip(graph.layers, graph.predecessors, graph.twins, strict=True):
        parts = (layer.digest, *(names[other] for other in before), twin.to_bytes(4, "little"))
        names.append(hashlib.sha3_512(b"".join(parts)).digest())
    return names


_NAMES: Final[dict[str, Any]] = {"blake2b": lambda graph: graph.names, "sha3_512": sha3_names}
