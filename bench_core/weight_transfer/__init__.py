"""Weight transfer between models that evolve: names of layers, common prefixes, layer stores."""

from __future__ import annotations

from bench_core.weight_transfer import birthday, layers, lineage
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
from bench_core.weight_transfer.mutation import expected_transfer, mutate, position_weights
from bench_core.weight_transfer.network import Network, materialise
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
from bench_core.weight_transfer.puts import PutResult
from bench_core.weight_transfer.records import ModelRecord
from bench_core.weight_transfer.store import LayerStore
from bench_core.weight_transfer.sweeping import Swept, sweep
from bench_core.weight_transfer.torch_graph import graph_of, tensor_names

__all__ = [
    "MEASURES",
    "ArchitectureGraph",
    "GraphError",
    "Layer",
    "LayerStore",
    "Match",
    "Measure",
    "ModelExistsError",
    "ModelRecord",
    "Name",
    "Network",
    "PrefixIndex",
    "PutResult",
    "RetiredError",
    "SpaceError",
    "StoreError",
    "Swept",
    "TensorId",
    "UnknownModelError",
    "birthday",
    "by_frontier",
    "by_intersection",
    "coverage",
    "expected_transfer",
    "graph_of",
    "layers",
    "lineage",
    "materialise",
    "mutate",
    "position_weights",
    "sequential",
    "sweep",
    "tensor_id",
    "tensor_names",
    "weight",
]
