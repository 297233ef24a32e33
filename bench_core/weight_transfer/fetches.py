"""What a fetch is made of: where each tensor of a donor goes, seen to be there and to fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from bench_core.errors import TensorNotFoundError
from bench_core.weight_transfer.graphs import ArchitectureGraph, TensorId
from bench_core.weight_transfer.prefix import Match
from bench_core.weight_transfer.puts import check_same
from bench_core.weight_transfer.records import ModelRecord


def wanted_of(
    match: Match,
    graph: ArchitectureGraph,
    record: ModelRecord,
    into: Mapping[str, torch.Tensor],
) -> dict[TensorId, torch.Tensor]:
    """Return by id those tensors of a new model that are to be filled with its donor's.

    Args:
        match: the donor, and the new model's positions.
        graph: the new model's architecture.
        record: the donor's.
        into: the new model's tensors by ``<position>.<name>``.

    Raises:
        GraphError: the new model has no such position.
        TensorNotFoundError: the donor has not what stands at one of them, or a destination is
            missing.
        TensorMismatchError: a destination has another shape or type.
    """
    wanted = graph.tensor_ids(match.positions)
    for name, key in wanted.items():
        if key not in record.owner_map:
            raise TensorNotFoundError(
                f"model {match.donor} has no tensor that equals {name!r}; ask for a match for "
                "what they have in common"
            )
    given = destinations(wanted, into)
    check_same(match.donor, graph.tensors(), given)
    return {key: given[name] for name, key in wanted.items()}


def destinations(names: Iterable[str], into: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of these names.

    Raises:
        TensorNotFoundError: one was not given.
    """
    found = {}
    for name in names:
        if name not in into:
            raise TensorNotFoundError(f"no destination was given for {name!r}")
        found[name] = into[name]
    return found
