"""An index of tensors, for stores that keep values and know neither shapes nor types."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Final

from bench_core.errors import CorruptFileError
from bench_core.formats.base import Tensors, TensorSpec
from bench_core.formats.dtypes import DTYPES, dtype_name

_CHECKSUM: Final = struct.Struct("<I")


def encode_index(tensors: Tensors) -> bytes:
    """Return names, types and shapes as JSON, after its CRC-32."""
    entries = [
        [name, dtype_name(tensor.dtype), list(tensor.shape)] for name, tensor in tensors.items()
    ]
    text = json.dumps(entries, separators=(",", ":")).encode()
    return _CHECKSUM.pack(zlib.crc32(text)) + text


def decode_index(path: Path, stored: bytes | memoryview | None) -> dict[str, TensorSpec]:
    """Return what `encode_index` was given, in its order.

    Raises:
        CorruptFileError: there is no index at ``path``, or it does not match its checksum.
    """
    if stored is None or len(stored) < _CHECKSUM.size:
        raise CorruptFileError(f"{path}: has no index of tensors; another program wrote it")
    (checksum,) = _CHECKSUM.unpack_from(stored)
    text = bytes(stored[_CHECKSUM.size :])
    if zlib.crc32(text) != checksum:
        raise CorruptFileError(f"{path}: the index of tensors does not match its checksum")
    return {
        name: TensorSpec(tuple(shape), DTYPES[dtype]) for name, dtype, shape in json.loads(text)
    }
