"""Names of tensor types in files, and the views that libraries without them store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from bench_core.errors import UnsupportedError

DTYPES: Final[dict[str, torch.dtype]] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}
"""The type names of the safetensors format, for every type that both it and torch have."""

_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}

# Types that numpy lacks travel as unsigned integers of the same width.
_SUBSTITUTES: Final = {
    torch.bfloat16: torch.uint16,
    torch.float8_e4m3fn: torch.uint8,
    torch.float8_e4m3fnuz: torch.uint8,
    torch.float8_e5m2: torch.uint8,
    torch.float8_e5m2fnuz: torch.uint8,
    torch.float8_e8m0fnu: torch.uint8,
}

_NUMPY: Final[dict[torch.dtype, np.dtype[Any]]] = {
    dtype: torch.empty(0, dtype=_SUBSTITUTES.get(dtype, dtype)).numpy().dtype
    for dtype in DTYPES.values()
}

NUMPY_TO_TORCH: Final = {
    stored: dtype for dtype, stored in _NUMPY.items() if dtype not in _SUBSTITUTES
}
"""The types that numpy and torch both have."""


def dtype_name(dtype: torch.dtype) -> str:
    """Return the safetensors name of a type, ``"BF16"`` for `torch.bfloat16`.

    Raises:
        UnsupportedError: the type has none (quantised types, complex128).
    """
    if dtype not in _NAMES:
        raise UnsupportedError(
            f"{dtype} cannot be stored; convert to one of {', '.join(map(str, _NAMES))}"
        )
    return _NAMES[dtype]


def numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    """Return the numpy type that holds ``dtype``: an unsigned integer where numpy lacks it."""
    dtype_name(dtype)
    return _NUMPY[dtype]


def to_numpy(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """Return a view of a CPU tensor as an array of `numpy_dtype`, without a copy."""
    dtype_name(tensor.dtype)
    substitute = _SUBSTITUTES.get(tensor.dtype)
    array: npt.NDArray[Any] = (tensor if substitute is None else tensor.view(substitute)).numpy()
    return array


def from_numpy(array: npt.NDArray[Any], dtype: torch.dtype) -> torch.Tensor:
    """Return a view of an array of ``numpy_dtype(dtype)`` as a tensor, without a copy."""
    if array.size == 0:  # numpy gives it strides that torch's views refuse
        return torch.empty(array.shape, dtype=dtype)
    tensor = torch.from_numpy(array)
    return tensor.view(dtype) if dtype in _SUBSTITUTES else tensor


def byte_view(tensor: torch.Tensor) -> npt.NDArray[np.uint8]:
    """Return the bytes of a contiguous CPU tensor as a flat array, without a copy.

    Writing into the array writes into the tensor.
    """
    dtype_name(tensor.dtype)
    if tensor.numel() == 0:
        return np.empty(0, np.uint8)
    array: npt.NDArray[np.uint8] = tensor.view(-1).view(torch.uint8).numpy()
    return array


def on_host(tensor: torch.Tensor) -> torch.Tensor:
    """Return ``tensor`` as a contiguous CPU tensor without autograd; a copy only where needed.

    Raises:
        UnsupportedError: a sparse or quantised tensor, or one on the meta device.
    """
    _check_storable("a tensor", tensor)
    return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()


def logical_bytes(tensors: Mapping[str, torch.Tensor]) -> int:
    """Return the sum of the tensors' bytes.

    Raises:
        UnsupportedError: one of them cannot be stored: see `on_host` and `dtype_name`.
    """
    for name, tensor in tensors.items():
        _check_storable(repr(name), tensor)
    return sum(tensor.nbytes for tensor in tensors.values())


def _check_storable(name: str, tensor: torch.Tensor) -> None:
    kind = "on the meta device" if tensor.is_meta else "quantised" if tensor.is_quantized else ""
    if tensor.layout is not torch.strided:
        kind = str(tensor.layout).removeprefix("torch.")
    if kind:
        raise UnsupportedError(f"{name} is {kind} and cannot be stored; give a dense tensor")
    dtype_name(tensor.dtype)
