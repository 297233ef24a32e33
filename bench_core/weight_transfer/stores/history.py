"""One change of a shard's history as bytes: all that an index of the models needs to know.

Not the record: opening a store of 60,000 models should not decode as many architectures.
"""

from __future__ import annotations

import struct
from typing import Final

from bench_core.errors import CorruptFileError
from bench_core.weight_transfer.graphs import NAME_BYTES, split_names
from bench_core.weight_transfer.stores.shard import Change

_HEADER: Final = struct.Struct(">QBd")
"""Of a change: the model, what is known of it, its accuracy. The names of its layers follow."""
_RETIRED: Final = 0
_APPEARED: Final = 1
_APPEARED_WITH_ACCURACY: Final = 2


def encode_change(change: Change) -> bytes:
    """Return what `decode_change` reads."""
    if change.is_retirement:
        return _HEADER.pack(change.model, _RETIRED, 0.0)
    if change.accuracy is None:
        return _HEADER.pack(change.model, _APPEARED, 0.0) + b"".join(change.names)
    header = _HEADER.pack(change.model, _APPEARED_WITH_ACCURACY, change.accuracy)
    return header + b"".join(change.names)


def decode_change(data: bytes) -> Change:
    """Return the change that was encoded.

    Raises:
        CorruptFileError: something else stands there.
    """
    model, is_retirement = decode_model(data)
    _, kind, accuracy = _HEADER.unpack_from(data)
    names = split_names(data[_HEADER.size :])
    if is_retirement == bool(names) or (len(data) - _HEADER.size) % NAME_BYTES:
        raise CorruptFileError(
            f"the history of a layer store tells of {len(data)} bytes that model {model} "
            + ("went" if is_retirement else "appeared")
        )
    return Change(model, names, accuracy if kind == _APPEARED_WITH_ACCURACY else None)


def decode_model(data: bytes) -> tuple[int, bool]:
    """Return of an encoded change only its model, and whether it was retired.

    Raises:
        CorruptFileError: no change stands there.
    """
    if len(data) < _HEADER.size or data[8] > _APPEARED_WITH_ACCURACY:
        raise CorruptFileError(f"no change in the history of a layer store: {data[:32]!r}")
    return _HEADER.unpack_from(data)[0], data[8] == _RETIRED
