"""Where tensors come to lie in a file that is written, and the header that says so."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bench_core.errors import UnsupportedError
from bench_core.formats.base import Tensors, TensorSpec
from bench_core.formats.direct.alignment import PAGE_BYTES
from bench_core.formats.direct.header import LENGTH_BYTES, MAXIMUM_BYTES, METADATA
from bench_core.formats.dtypes import dtype_name

# Without it transformers refuses the file.
_FORMAT: Final = {"format": "pt"}


@dataclass(frozen=True)
class Place:
    """One tensor's bytes in the file, ``begin`` to ``end``."""

    name: str
    begin: int
    end: int


@dataclass(frozen=True)
class Layout:
    """A file to be written."""

    header: bytes
    """Length, text and padding: the data start at a page."""
    places: tuple[Place, ...]
    """The tensors that have bytes, in file order."""
    size: int


def layout(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> Layout:
    """Lay tensors out so that as many as possible start at a page of the file.

    First come those whose size is a multiple of a page, in the order given, so that each starts
    at a page; then the others, by the largest power of two in their size, which aligns each to it.
    The format allows no gap between tensors, and spaces after the header's text.

    Args:
        tensors: what to store.
        metadata: what the header shall say beside that.

    Raises:
        UnsupportedError: a type or a name that the format cannot store.
    """
    specs = {name: TensorSpec(tuple(t.shape), t.dtype) for name, t in tensors.items()}
    names = sorted(specs, key=lambda name: _rank(specs[name]))
    offsets = dict(zip(names, _offsets(specs, names), strict=True))
    header = _header(specs, offsets, {**_FORMAT, **(metadata or {})})
    places = [
        Place(name, len(header) + begin, len(header) + end)
        for name, (begin, end) in offsets.items()
        if end > begin
    ]
    return Layout(header, tuple(places), places[-1].end if places else len(header))


def _rank(spec: TensorSpec) -> int:
    """Return what tensors are ordered by: the largest power of two, up to a page, in their size.

    Each then starts at a multiple of it. Kernels give other bits for weights that are not aligned
    to 16 bytes, and mapped tensors lie where the file has them.
    """
    return -min(spec.nbytes & -spec.nbytes, PAGE_BYTES) if spec.nbytes else -PAGE_BYTES


def _offsets(specs: Mapping[str, TensorSpec], names: list[str]) -> Iterator[tuple[int, int]]:
    begin = 0
    for name in names:
        end = begin + specs[name].nbytes
        yield begin, end
        begin = end


def _header(
    specs: Mapping[str, TensorSpec],
    offsets: Mapping[str, tuple[int, int]],
    metadata: Mapping[str, str],
) -> bytes:
    content: dict[str, object] = {METADATA: metadata}
    for name, (begin, end) in offsets.items():
        if name == METADATA:
            raise UnsupportedError(f"a tensor cannot be called {METADATA!r}: rename it")
        content[name] = {
            "dtype": dtype_name(specs[name].dtype),
            "shape": list(specs[name].shape),
            "data_offsets": [begin, end],
        }
    try:
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UnsupportedError(f"a tensor's name is no Unicode text: {error.object!r}") from error
    text += b" " * (-(LENGTH_BYTES + len(text)) % PAGE_BYTES)
    if len(text) > MAXIMUM_BYTES:
        raise UnsupportedError(
            f"{len(specs)} tensors need a header of {len(text)} bytes, the format allows "
            f"{MAXIMUM_BYTES}: write several files"
        )
    return struct.pack("<Q", len(text)) + text
