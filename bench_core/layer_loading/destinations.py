"""The tensors of a module or mapping that a load fills, matched with those in a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from bench_core.errors import TensorMismatchError, TensorNotFoundError, nearest
from bench_core.formats.base import Tensors, TensorSpec

_SHOWN = 5


def destinations(module_or_tensors: nn.Module | Tensors) -> dict[str, torch.Tensor]:
    """Return the tensors by name: of a module its parameters and persistent buffers.

    Raises:
        TensorMismatchError: one has no memory, or is none (a module's extra state).
    """
    named: Mapping[str, object] = (
        module_or_tensors.state_dict(keep_vars=True)
        if isinstance(module_or_tensors, nn.Module)
        else module_or_tensors
    )
    tensors: dict[str, torch.Tensor] = {}
    for name, value in named.items():
        if not isinstance(value, torch.Tensor):
            raise TensorMismatchError(
                f"{name!r} is a {type(value).__name__}, a tensor expected; load the tensors of the "
                "module by a mapping of their names"
            )
        if value.is_meta:
            raise TensorMismatchError(
                f"{name!r} is on the meta device and has no memory to fill; call "
                "module.to_empty(device='cpu') first"
            )
        tensors[name] = value
    return tensors


def match(
    tensors: Tensors,
    specs: Mapping[str, TensorSpec],
    names: Sequence[str] | None,
    *,
    strict: bool,
    path: Path,
) -> dict[str, torch.Tensor]:
    """Return the destinations that the file fills.

    Of names that share one tensor (tied weights) one in the file is enough; if it has several, the
    last wins, as with `torch.nn.Module.load_state_dict`.

    Args:
        tensors: all destinations.
        specs: what the file at ``path`` holds.
        names: which to fill; None for all.
        strict: both sides must hold the same names, or all of ``names``; else what both hold.
        path: for messages.

    Raises:
        TensorNotFoundError: a name that one side has not.
        TensorMismatchError: the file has more than the destinations.
    """
    wanted = list(tensors) if names is None else list(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in tensors]
    if unknown:
        raise TensorNotFoundError(
            f"no destination {unknown[0]!r} among {len(tensors)}{nearest(unknown[0], tensors)}"
        )
    found = {_memory(tensors[name]): name for name in wanted if name in specs}
    if strict:
        _check_missing(tensors, specs, wanted, found, path)
        if names is None:
            _check_unexpected(tensors, specs, path)
    return {name: tensors[name] for name in wanted if found.get(_memory(tensors[name])) == name}


def _memory(tensor: torch.Tensor) -> tuple[object, ...]:
    """Return what two names of one tensor have in common."""
    if tensor.numel() == 0:
        return (id(tensor),)
    return tensor.device, tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def _check_missing(
    tensors: Tensors,
    specs: Mapping[str, TensorSpec],
    wanted: Iterable[str],
    found: Mapping[tuple[object, ...], str],
    path: Path,
) -> None:
    missing = [name for name in wanted if _memory(tensors[name]) not in found]
    if missing:
        raise TensorNotFoundError(
            f"{path}: has no {_listed(missing)}{nearest(missing[0], specs)}; strict=False leaves "
            "such destinations as they are"
        )


def _check_unexpected(tensors: Tensors, specs: Mapping[str, TensorSpec], path: Path) -> None:
    unexpected = [name for name in specs if name not in tensors]
    if unexpected:
        raise TensorMismatchError(
            f"{path}: has {_listed(unexpected)}, for which there is no destination"
            f"{nearest(unexpected[0], tensors)}; strict=False skips it"
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_SHOWN]))
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
