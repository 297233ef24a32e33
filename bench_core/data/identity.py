"""Digests of data sets: over what decides the items' bits, the same in every process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_DIGEST_BYTES: Final = 16


def digest_of(
    description: Mapping[str, Any], arrays: Iterable[npt.NDArray[np.generic]] = ()
) -> str:
    """Return 32 hexadecimal digits over named settings and arrays (dtype, shape and bytes).

    Args:
        description: what JSON can hold; the order of its names does not matter.
        arrays: in an order that does matter.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    digest.update(json.dumps(description, sort_keys=True).encode())
    for array in arrays:
        digest.update(f"\n{array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
