"""The header of a safetensors file: parsed, and checked so that wrong tensors cannot come of it.

Layout: 8 bytes, little-endian, the length of the JSON text that follows; the text, an object of
``name: {"dtype", "shape", "data_offsets"}`` and an optional ``"__metadata__"`` of strings; then the
tensors' bytes without a gap. Source: https://github.com/huggingface/safetensors#format

Accepted is what that library accepts, less two things of which the format says no: a key that
stands twice, and a list in the place of a tensor's object.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

from bench_core.errors import CorruptFileError, UnsupportedError
from bench_core.formats.base import TensorSpec
from bench_core.formats.direct.alignment import PAGE_BYTES
from bench_core.formats.direct.memory import empty
from bench_core.formats.direct.open_file import OpenFile
from bench_core.formats.dtypes import DTYPES

LENGTH_BYTES: Final = 8
MAXIMUM_BYTES: Final = 100_000_000
"""Longest header text, the limit of the safetensors library."""

METADATA: Final = "__metadata__"

# Types the format has and `DTYPES` has not: two or more elements share bytes.
_PACKED: Final = ("F4", "F6_E2M3", "F6_E3M2")
_NESTING: Final = 125
_LARGEST: Final = 2**64 - 1


class Entry(NamedTuple):
    """One tensor of a file: ``begin`` and ``end`` are positions in the file, in bytes."""

    name: str
    spec: TensorSpec
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a file says of itself."""

    entries: Mapping[str, Entry]
    """By name, in the order of the bytes in the file."""
    metadata: Mapping[str, str]
    data_begin: int
    """Position of the first tensor's bytes in the file."""

    @cached_property
    def specs(self) -> dict[str, TensorSpec]:
        """Name to shape and type, in file order."""
        return {name: entry.spec for name, entry in self.entries.items()}


class _Invalid(Exception):
    """What contradicts the format, without the file's name."""


def read_header(file: OpenFile) -> Header:
    """Read and check the header: one small read, and a second one for what is longer than a page.

    Raises:
        CorruptFileError: the file is truncated, or its header contradicts the format or the file.
        UnsupportedError: a tensor has a type that torch has not.
    """
    head = file.read_bytes(0, min(file.size, PAGE_BYTES))
    try:
        text_end = LENGTH_BYTES + _text_length(head, file.size)
        if text_end > len(head):
            head += file.read_bytes(len(head), text_end)
        return _parse(head[LENGTH_BYTES:text_end], text_end, file.size)
    except _Invalid as error:
        raise CorruptFileError(f"{file.path}: no valid safetensors file, {error}") from error
    except UnsupportedError as error:
        raise UnsupportedError(f"{file.path}: {error}") from error


def _parse(text: bytes, data_begin: int, file_size: int) -> Header:
    """Return the checked header of a file whose data start at ``data_begin``."""
    content = _object(_json(text), "header")
    metadata = _metadata(content.pop(METADATA, None))
    entries = [_entry(name, pairs, data_begin) for name, pairs in content.items()]
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    position = data_begin
    for entry in entries:
        if entry.begin != position:
            raise _Invalid(
                f"{entry.name!r} starts at byte {entry.begin}, the tensor before it ends at "
                f"{position}"
            )
        position = entry.end
    if position != file_size:
        raise _Invalid(f"its tensors end at byte {position}, the file has {file_size}")
    return Header({entry.name: entry for entry in entries}, metadata, data_begin)


def _text_length(head: bytes, file_size: int) -> int:
    if len(head) < LENGTH_BYTES:
        raise _Invalid(f"it has {len(head)} bytes, at least {LENGTH_BYTES} expected")
    (length,) = struct.unpack_from("<Q", head)
    if length > MAXIMUM_BYTES:
        raise _Invalid(f"a header of {length} bytes, at most {MAXIMUM_BYTES} expected")
    if LENGTH_BYTES + length > file_size:
        raise _Invalid(f"a header of {length} bytes in a file of {file_size}: truncated")
    return int(length)


def _json(text: bytes) -> object:
    """Parse strictly: what Python's parser lets pass and the format does not is refused.

    An object becomes a tuple of its pairs: that is fast, differs from a list, and shows duplicates.
    """
    try:
        content: object = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=tuple,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_integer if b"-0" in text else None,
        )
        if b"\\u" in text:
            # Half a surrogate pair, escaped, passes the parser but is no text.
            json.dumps(content, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise _Invalid("its header is nested too deeply") from None
    except ValueError as error:
        raise _Invalid(f"its header is no JSON: {str(error)[:200]}") from error
    return content


def _object(value: object, what: str) -> dict[str, Any]:
    """Return a parsed object's pairs as a dictionary."""
    if type(value) is not tuple:
        raise _Invalid(f"its {what!r} is {value!r:.80}, an object expected")
    content = dict(value)
    if len(content) != len(value):
        ((twice, _),) = Counter(name for name, _ in value).most_common(1)
        raise _Invalid(f"its {what!r} has the key {twice!r:.80} twice")
    return content


def _refuse_constant(text: str) -> None:
    raise _Invalid(f"its header has the number {text}")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _Invalid(f"its header has a number out of range, {text[:40]}")
    return number


def _integer(text: str) -> int | float:
    """JSON's ``-0`` is a float: it is no size."""
    return -0.0 if text == "-0" else int(text)


def _metadata(value: object) -> dict[str, str]:
    if value is None:
        return {}
    metadata = _object(value, METADATA)
    if not all(isinstance(item, str) for item in metadata.values()):
        raise _Invalid(f"its {METADATA} has values that are no strings")
    return metadata


def _entry(name: str, pairs: object, data_begin: int) -> Entry:
    """Check one tensor's fields; positions are checked against the file by the caller.

    Runs for every tensor at every open, hence plain tests in one function.
    Types are compared exactly, because JSON's true is a Python int too.
    """
    fields = _object(pairs, name)
    code, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    dtype = DTYPES.get(code) if type(code) is str else None
    if dtype is None:
        raise _bad_type(name, code)
    if type(offsets) is not list or len(offsets) != 2:
        raise _bad_offsets(name, offsets)
    begin, end = offsets
    if type(begin) is not int or type(end) is not int or not 0 <= begin <= end:
        raise _bad_offsets(name, offsets)
    if type(shape) is not list:
        raise _bad_shape(name, shape)
    count = 1
    for length in shape:
        if type(length) is not int or length < 0 or count > _LARGEST:
            raise _bad_shape(name, shape)
        count *= length
    nbytes = count * dtype.itemsize
    if end - begin != nbytes:
        raise _Invalid(f"{name!r} has {end - begin} bytes, {dtype} {shape!r:.80} does not fit")
    spec = TensorSpec(tuple(shape), dtype)
    if nbytes == 0:
        _check_empty(name, spec)
    if len(fields) > 3:
        _check_ignored(name, list(fields.values()), 0)
    return Entry(name, spec, data_begin + begin, data_begin + end)


def _bad_type(name: str, code: object) -> Exception:
    if code in _PACKED:
        return UnsupportedError(f"{name!r} has type {code}, which torch has no plain type for")
    return _Invalid(f"{name!r} has the unknown dtype {code!r}")


def _bad_offsets(name: str, offsets: object) -> Exception:
    return _Invalid(f"{name!r} has data_offsets {offsets!r:.80}, [begin, end] expected")


def _bad_shape(name: str, shape: object) -> Exception:
    return _Invalid(f"{name!r} has the shape {shape!r:.80}, a list of sizes expected")


def _check_empty(name: str, spec: TensorSpec) -> None:
    """Beside a zero, lengths are not bounded by the file: refuse what torch cannot hold."""
    try:
        empty(spec)
    except (RuntimeError, TypeError):
        raise _bad_shape(name, list(spec.shape)) from None


def _check_ignored(name: str, values: list[Any], depth: int) -> None:
    """Fields the format does not know are skipped, within the limits of the library's parser."""
    if depth > _NESTING:
        raise _Invalid(f"{name!r} is nested too deeply")
    for value in values:
        if isinstance(value, int) and abs(value) > 1.7e308:
            raise _Invalid(f"{name!r} has a number out of range")
        if isinstance(value, list):
            _check_ignored(name, value, depth + 1)
        elif isinstance(value, tuple):
            _check_ignored(name, [item for _, item in value], depth + 1)
