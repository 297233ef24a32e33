"""A device beside the processor, without hardware: what runs on a GPU runs here, bit for bit.

Its tensors say that they are on ``simulated:0``. As on a GPU an operation refuses operands of which
some are on the device and others on the host, nothing can be read through an address, and tensors
come and go by copies alone. The kernels are the processor's, so results must be equal bit for bit.
It knows no streams: nothing runs beside anything else.

As a plugin, ``python -m pytest -p simulated_device device_search_cases.py``: it changes torch for
the whole process. Made with torch's experimental way to write a backend in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "simulated"
HOST = torch.device("cpu")
COPIES = frozenset({"copy_", "_to_copy", "to"})
"""Operations that take tensors of both sides."""


class OnDevice(torch.Tensor):
    """A tensor of the device; its values are kept in one of the host."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OnDevice:
        # One that is made in inference mode could not be looked at through views outside of it.
        with torch.inference_mode(mode=False):
            made: OnDevice = torch.Tensor._make_wrapper_subclass(
                cls,
                held.size(),
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                device=torch.device(NAME, 0),
            )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation over the kept values."""
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        if func.overloadpacket.__name__ not in COPIES:
            _check_sides(func, leaves)
        held_args, held_kwargs = tree_map_only(
            torch.device, lambda _: HOST, tree_map_only(cls, _held, (args, kwargs))
        )
        result = func(*held_args, **held_kwargs)
        if any(isinstance(leaf, torch.device) and leaf.type != NAME for leaf in leaves):
            return result
        # What changes a tensor in place returns that tensor.
        known = {id(_held(t)): t for t in leaves if isinstance(t, torch.Tensor)}
        return tree_map_only(
            torch.Tensor, lambda t: known[id(t)] if id(t) in known else cls(t), result
        )


def _held(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.held if isinstance(tensor, OnDevice) else tensor


def _check_sides(func: Any, leaves: Sequence[Any]) -> None:
    """Refuse tensors of the host beside those of the device, but for single numbers."""
    for leaf in leaves:
        if isinstance(leaf, torch.Tensor) and not isinstance(leaf, OnDevice) and leaf.dim():
            raise RuntimeError(f"{func}: a tensor of shape {tuple(leaf.shape)} is on the host")


def _empty(size: Sequence[int], dtype: Any = None, *_: Any, **others: Any) -> OnDevice:
    layout = others.get("memory_format") or torch.contiguous_format
    return OnDevice(torch.empty(size, dtype=dtype, memory_format=layout))


def _empty_strided(
    size: Sequence[int], stride: Sequence[int], dtype: Any = None, *_: Any, **__: Any
) -> OnDevice:
    return OnDevice(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: torch.Tensor, target: OnDevice, non_blocking: bool = False) -> OnDevice:
    target.held.copy_(_held(source), non_blocking=non_blocking)
    return target


class _Module(_DummyBackendModule):
    """``torch.simulated``: the device draws from the host's generator."""

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        torch.set_rng_state(state)


_setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
# The kernels are there as long as this object is.
KERNELS = torch.library.Library("aten", "IMPL")
KERNELS.impl("empty.memory_format", _empty, "PrivateUse1")
KERNELS.impl("empty_strided", _empty_strided, "PrivateUse1")
KERNELS.impl("_copy_from", _copy_from, "PrivateUse1")
