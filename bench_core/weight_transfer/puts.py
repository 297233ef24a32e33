"""What a put is made of: the new model's record, and the tensors that it brings itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench_core.errors import TensorMismatchError, TensorNotFoundError
from bench_core.formats import TensorSpec
from bench_core.formats.atomic import writer_mark
from bench_core.weight_transfer.errors import StoreError
from bench_core.weight_transfer.graphs import ArchitectureGraph, TensorId
from bench_core.weight_transfer.records import ModelRecord


@dataclass(frozen=True)
class PutResult:
    """What one put stored."""

    record: ModelRecord
    bytes_logical: int
    """Of all its tensors."""
    bytes_physical: int
    """Of those that travelled: what it does not inherit."""
    data_ns: int
    """Until the bytes were stored, or taken to be stored with the record where they are few."""
    meta_ns: int
    """From there until the model was visible."""


def new_record(
    model: int,
    graph: ArchitectureGraph,
    donor: tuple[ModelRecord, Sequence[int]] | None,
    *,
    accuracy: float | None,
    info: Mapping[str, Any] | None,
) -> ModelRecord:
    """Return the record of a new model that has the layers at some positions from a donor.

    Raises:
        StoreError: the model has no layer, or an id that no model can have.
        TensorNotFoundError: the donor has not what stands at one of these positions.
    """
    check_not_empty(model, graph)
    ids = graph.tensor_ids()
    owners = dict.fromkeys(ids.values(), model)
    created = time.time_ns()
    if donor is not None:
        given, positions = donor
        created = max(created, given.created_ns + 1)
        for name, key in graph.tensor_ids(positions).items():
            if key not in given.owner_map:
                raise TensorNotFoundError(
                    f"model {given.id} has no tensor that equals {name!r} of model {model}; "
                    "ask `best_prefix` for what they have in common"
                )
            owners[key] = given.owner_map[key]
    return ModelRecord(
        id=model,
        graph=graph,
        owners=tuple(owners.values()),
        accuracy=accuracy,
        parent=None if donor is None else donor[0].id,
        created_ns=created,
        token=writer_mark(),
        info=dict(info or {}),
    )


def own_tensors(
    record: ModelRecord, tensors: Mapping[str, torch.Tensor]
) -> dict[TensorId, torch.Tensor]:
    """Return by id what a model brings itself, seen to be whole and of the right shapes.

    Raises:
        TensorNotFoundError: one was not given.
        TensorMismatchError: one has another shape or type, is inherited, or is none of the model.
    """
    specs = record.graph.tensors()
    own = {
        name: key
        for (name, key), owner in zip(record.tensor_ids.items(), record.owners, strict=True)
        if owner == record.id
    }
    for name in own:
        if name not in tensors:
            raise TensorNotFoundError(
                f"model {record.id}: tensor {name!r} was not given and is not inherited"
            )
    check_same(record.id, specs, {name: tensors[name] for name in own})
    for name in tensors:
        if name not in own:
            raise TensorMismatchError(
                f"model {record.id}: {name!r} was given but is "
                + ("inherited" if name in specs else "no tensor of this architecture")
                + "; give what the model owns itself"
            )
    return {key: tensors[name] for name, key in own.items()}


def check_same(
    model: int, specs: Mapping[str, TensorSpec], tensors: Mapping[str, torch.Tensor]
) -> None:
    """See that tensors have the shapes and types of a model's tensors of the same names.

    Raises:
        TensorMismatchError: one has not.
    """
    for name, tensor in tensors.items():
        if TensorSpec.of(tensor) != specs[name]:
            raise TensorMismatchError(
                f"model {model}: {name!r} is {specs[name].dtype} {list(specs[name].shape)}, "
                f"given was {tensor.dtype} {list(tensor.shape)}"
            )


def check_all(model: int, graph: ArchitectureGraph, tensors: Mapping[str, torch.Tensor]) -> None:
    """See that these are all tensors of an architecture and no other.

    Raises:
        StoreError: the model has no layer.
        TensorNotFoundError: one was not given.
        TensorMismatchError: one has another shape or type, or is none of the architecture's.
    """
    check_not_empty(model, graph)
    specs = graph.tensors()
    for name in specs:
        if name not in tensors:
            raise TensorNotFoundError(f"model {model}: tensor {name!r} was not given")
    for name in tensors:
        if name not in specs:
            raise TensorMismatchError(
                f"model {model}: {name!r} was given but is no tensor of this architecture"
            )
    check_same(model, specs, tensors)


def check_not_empty(model: int, graph: ArchitectureGraph) -> None:
    """See that an architecture has a layer.

    Raises:
        StoreError: it has none.
    """
    if not len(graph):
        raise StoreError(f"model {model} has no layer; a store keeps models of one or more")
