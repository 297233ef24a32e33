"""Weight transfer between models that evolve: names of layers, common prefixes, layer stores."""

from __future__ import annotations

from bench_core.weight_transfer import (
    applications,
    birthday,
    evolution,
    layers,
    lineage,
    methods,
    spaces,
    tasks,
)
from bench_core.weight_transfer.errors import (
    EvolutionError,
    FullError,
    GraphError,
    ModelExistsError,
    RetiredError,
    SpaceError,
    StoreError,
    TaskError,
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
from bench_core.weight_transfer.stores.opening import open_store
from bench_core.weight_transfer.sweeping import Swept, sweep
from bench_core.weight_transfer.torch_graph import graph_of, tensor_names
from bench_core.weight_transfer.trainer import TrainedModel, TransferTrainer
from bench_core.weight_transfer.training import TrainingPlan

__all__ = [
    "MEASURES",
    "ArchitectureGraph",
    "EvolutionError",
    "FullError",
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
    "TaskError",
    "TensorId",
    "TrainedModel",
    "TrainingPlan",
    "TransferTrainer",
    "UnknownModelError",
    "applications",
    "birthday",
    "by_frontier",
    "by_intersection",
    "coverage",
    "evolution",
    "expected_transfer",
    "graph_of",
    "layers",
    "lineage",
    "materialise",
    "methods",
    "mutate",
    "open_store",
    "position_weights",
    "sequential",
    "spaces",
    "sweep",
    "tasks",
    "tensor_id",
    "tensor_names",
    "weight",
]
