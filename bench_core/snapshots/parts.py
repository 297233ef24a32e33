"""What a model is stored from: for each of its blocks the tensors, or where the store has it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import torch

from bench_core.errors import TensorMismatchError
from bench_core.models.chains import BlockSpec, ChainSpec
from bench_core.snapshots.blocks import parameters_digest
from bench_core.snapshots.manifest import BlockRef

Part = Mapping[str, torch.Tensor] | BlockRef
"""What a block is stored from: its tensors, or where the store has it already."""

HEAD: Final = "head.linear"
"""Kind of a classifier: settings ``inputs`` and ``classes``, tensors ``weight`` and ``bias``."""


def parts_of(
    chain: ChainSpec, tensors: Sequence[Part], head: tuple[torch.Tensor, torch.Tensor] | None
) -> list[tuple[BlockSpec, Part]]:
    """Return each block with what it is stored from, the head last.

    Raises:
        TensorMismatchError: these are not the blocks of the chain, or no head of its features.
    """
    if len(tensors) != len(chain.blocks):
        raise TensorMismatchError(
            f"{chain.architecture} has {len(chain.blocks)} blocks, the tensors of {len(tensors)} "
            "were given"
        )
    for index, (spec, part) in enumerate(zip(chain.blocks, tensors, strict=True)):
        if isinstance(part, BlockRef) and part.spec != spec:
            raise TensorMismatchError(
                f"block {index} of {chain.architecture} is {spec}, given was a stored {part.spec}"
            )
    parts: list[tuple[BlockSpec, Part]] = list(zip(chain.blocks, tensors, strict=True))
    if head is not None:
        weight, bias = head
        if (
            weight.ndim != 2
            or weight.shape[1] != chain.feature_dim
            or bias.shape != weight[:, 0].shape
        ):
            raise TensorMismatchError(
                f"a head of weight {list(weight.shape)} and bias {list(bias.shape)} was given; "
                f"expected [classes, {chain.feature_dim}] and [classes]"
            )
        spec = BlockSpec.of(HEAD, classes=weight.shape[0], inputs=weight.shape[1])
        parts.append((spec, {"weight": weight, "bias": bias}))
    return parts


def refs_of(parts: Sequence[tuple[BlockSpec, Part]]) -> list[BlockRef]:
    """Digest the blocks, several at once: a digest holds no lock of the interpreter."""

    def ref(part: tuple[BlockSpec, Part]) -> BlockRef:
        spec, content = part
        if isinstance(content, BlockRef):
            return content
        nbytes = sum(tensor.nbytes for tensor in content.values())
        return BlockRef(spec, parameters_digest(content), nbytes)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(ref, parts))
