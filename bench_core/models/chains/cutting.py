"""Cutting a library's state dict into the blocks of a chain, by the names of its modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from bench_core.errors import TensorNotFoundError, nearest
from bench_core.models.chains.family import SplitState
from bench_core.models.chains.modules import skeleton
from bench_core.models.chains.spec import ChainSpec

Places = Mapping[str, str]
"""Of one block: beginning of a name within the block to its beginning in the library's model."""


def cut(
    chain: ChainSpec,
    places: Sequence[Places],
    state: Mapping[str, torch.Tensor],
    *,
    prefix: str,
    head: str,
) -> SplitState:
    """Cut a state dict of the library's model, with or without a head.

    Args:
        chain: whose blocks.
        places: for each block where its tensors are.
        state: the library's names to tensors.
        prefix: what all names begin with in a model that has a head.
        head: name of the classifier's module.

    Raises:
        TensorNotFoundError: a tensor of a block is missing.
    """
    inside = prefix if any(name.startswith(prefix) for name in state) else ""
    used: set[str] = set()
    blocks = []
    for spec, place in zip(chain.blocks, places, strict=True):
        names = {key: inside + _library_name(key, place) for key in skeleton(spec).state_dict()}
        _check(names.values(), state, spec.kind)
        used.update(names.values())
        blocks.append({key: state[name] for key, name in names.items()})
    heads = tuple(state.get(f"{head}.{part}") for part in ("weight", "bias"))
    found = None if heads[0] is None or heads[1] is None else (heads[0], heads[1])
    used.update(f"{head}.{part}" for part in ("weight", "bias"))
    return SplitState(tuple(blocks), found, tuple(name for name in state if name not in used))


def _library_name(key: str, place: Places) -> str:
    """Return a tensor's name in the library's model; the longest fitting beginning counts."""
    start = max((p for p in place if key.startswith(p)), key=len)
    return place[start] + key[len(start) :]


def _check(names: Iterable[str], state: Mapping[str, torch.Tensor], kind: str) -> None:
    for name in names:
        if name not in state:
            raise TensorNotFoundError(
                f"no tensor {name!r} for a block {kind} among {len(state)}{nearest(name, state)}; "
                "the model is not what its configuration says"
            )
