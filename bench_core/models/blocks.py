"""A model as a chain of blocks, each with a digest of its architecture and of its parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from bench_core.models.digests import architecture_digest, combine, tensor_digest


@dataclass(frozen=True)
class Block:
    """The tensors of one module, in the state dict's order."""

    name: str
    """The module's path: what the tensors' names have in common."""
    tensors: tuple[str, ...]
    """Full names."""
    nbytes: int
    architecture: bytes
    """16 bytes over the tensors' names within the block, dtypes and shapes."""
    parameters: bytes
    """16 bytes over the tensors' names within the block and all their bits."""


def group(names: Iterable[str], depth: int | None = None) -> dict[str, list[str]]:
    """Group tensor names by the module that holds them, in order of first appearance.

    Args:
        names: names as in a state dict, ``encoder.layer.0.output.dense.weight``.
        depth: how many leading parts of a path name the block; None takes the whole path, so
            that a block is one layer (its weight, bias and buffers).
    """
    blocks: dict[str, list[str]] = {}
    for name in names:
        path = name.split(".")[:-1]
        blocks.setdefault(".".join(path[:depth]), []).append(name)
    return blocks


def blocks(tensors: Mapping[str, torch.Tensor], depth: int | None = None) -> list[Block]:
    """Return the blocks of a state dict with their digests, in order.

    Two blocks of equal architecture can stand in each other's place; two of equal parameters
    are the same block, whatever the names of the modules they hang under.
    """
    return [_block(name, members, tensors) for name, members in group(tensors, depth).items()]


def _block(name: str, members: list[str], tensors: Mapping[str, torch.Tensor]) -> Block:
    inside = {member[len(name) :]: tensors[member] for member in members}
    return Block(
        name=name,
        tensors=tuple(members),
        nbytes=sum(tensor.nbytes for tensor in inside.values()),
        architecture=combine({key: architecture_digest(t) for key, t in inside.items()}),
        parameters=combine({key: tensor_digest(t) for key, t in inside.items()}),
    )
