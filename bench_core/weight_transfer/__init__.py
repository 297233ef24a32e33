"""Weight transfer between models that evolve: names of layers, common prefixes, layer stores."""

from __future__ import annotations

from bench_core.weight_transfer.errors import (
    GraphError,
    ModelExistsError,
    RetiredError,
    SpaceError,
    StoreError,
    UnknownModelError,
)
from bench_core.weight_transfer.graphs import (
    ArchitectureGraph,
    Layer,
    Name,
    TensorId,
    sequential,
    tensor_id,
)
from bench_core.weight_transfer.prefix import (
    MEASURES,
    Match,
    Measure,
    by_frontier,
    by_intersection,
    coverage,
    weight,
)
from bench_core.weight_transfer.prefix_index import PrefixIndex

__all__ = [
    "MEASURES",
    "ArchitectureGraph",
    "GraphError",
    "Layer",
    "Match",
    "Measure",
    "ModelExistsError",
    "Name",
    "PrefixIndex",
    "RetiredError",
    "SpaceError",
    "StoreError",
    "TensorId",
    "UnknownModelError",
    "by_frontier",
    "by_intersection",
    "coverage",
    "sequential",
    "tensor_id",
    "weight",
]
