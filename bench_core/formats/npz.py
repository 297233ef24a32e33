"""Uncompressed npz through numpy: a zip of ``.npy`` members, whose CRC-32 numpy checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import torch

from bench_core.errors import CorruptFileError, UnsupportedError
from bench_core.formats.atomic import write_atomically
from bench_core.formats.base import (
    Durability,
    Format,
    Reader,
    Tensors,
    TensorSpec,
    WriteResult,
)
from bench_core.formats.dtypes import (
    DTYPES,
    NUMPY_TO_TORCH,
    dtype_name,
    from_numpy,
    logical_bytes,
    numpy_dtype,
    on_host,
    to_numpy,
)
from bench_core.formats.escaping import escape, escape_character, unescape
from bench_core.formats.reading import LazySpecs, WholeTensorReader, check_file, corrupt_file_errors

_ZIP_MAGIC: Final = b"PK"
_TYPE_SEPARATOR: Final = "@"
_NUMPY_ARGUMENTS: Final = ("file", "allow_pickle")


class Npz(Format):
    """`numpy.savez` and `numpy.load`; a member is named after its tensor.

    A tensor of a type that numpy lacks is stored as integers of its width under ``name@TYPE``.
    """

    name: ClassVar[str] = "npz"
    suffix: ClassVar[str] = ".npz"
    layout: ClassVar[str] = "npz"

    def write(
        self, tensors: Tensors, path: Path, durability: Durability = Durability.FSYNC_DIR
    ) -> WriteResult:
        """Write with `numpy.savez`, which stores without compression."""
        return write_atomically(
            path,
            durability,
            lambda temporary: _write(tensors, temporary),
            bytes_logical=logical_bytes(tensors),
        )

    def open(self, path: Path) -> Reader:
        """Open the archive and read its directory."""
        check_file(path, magic=_ZIP_MAGIC)
        return _NpzReader(path)


class _NpzReader(WholeTensorReader):
    def __init__(self, path: Path) -> None:
        self.path = path
        with corrupt_file_errors(path):
            self._archive: Any = np.load(path, allow_pickle=False)
        self._specs = _Specs(path, self._archive)

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Name to shape and dtype; a member's header is read when its entry is looked at."""
        return self._specs

    def read(self, names: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
        self.check_open()
        self.check_names(names or [])
        return {name: self._read(name) for name in (self._specs if names is None else names)}

    def close(self) -> None:
        if not self.closed:
            self._archive.close()
        self.closed = True

    def _read(self, name: str) -> torch.Tensor:
        with (
            corrupt_file_errors(self.path),
            self._archive.zip.open(f"{self._specs.members[name]}.npy") as file,
        ):
            array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            # The checksum is compared at the member's end, which a damaged shape may not reach.
            if file.read(1):
                raise CorruptFileError(f"{self.path}: {name!r} has more bytes than its shape")
        dtype = self._specs.torch_dtype(name, array.dtype)
        return from_numpy(array, dtype)


class _Specs(LazySpecs):
    """The members of an archive, and their specs, each read when asked for."""

    def __init__(self, path: Path, archive: Any) -> None:
        super().__init__()
        self._path = path
        self._archive = archive
        self.members: dict[str, str] = {
            unescape(member.partition(_TYPE_SEPARATOR)[0]): member for member in archive.files
        }
        if len(self.members) < len(archive.files):
            raise CorruptFileError(f"{path}: two members of the archive have the same name")

    def torch_dtype(self, name: str, stored: np.dtype[Any]) -> torch.dtype:
        """Return the type of a tensor whose member is an array of ``stored``."""
        _, separator, type_name = self.members[name].partition(_TYPE_SEPARATOR)
        if not separator:
            if stored not in NUMPY_TO_TORCH:
                raise UnsupportedError(
                    f"{self._path}: {name!r} is {stored}, a type that torch lacks"
                )
            return NUMPY_TO_TORCH[stored]
        if type_name not in DTYPES or numpy_dtype(DTYPES[type_name]) != stored:
            raise CorruptFileError(f"{self._path}: {name!r} is {stored}, said to be {type_name}")
        return DTYPES[type_name]

    def find(self, name: str) -> TensorSpec:
        """Read the header of the member."""
        with corrupt_file_errors(self._path):
            shape, stored = _read_header(self._archive, self.members[name])
        return TensorSpec(shape, self.torch_dtype(name, stored))

    def __contains__(self, name: object) -> bool:
        return name in self.members

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


def _read_header(archive: Any, member: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with archive.zip.open(f"{member}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
    return tuple(shape), dtype


def _write(tensors: Tensors, path: Path) -> None:
    arrays: dict[str, Any] = {}
    for name, tensor in tensors.items():
        array = to_numpy(on_host(tensor))
        arrays[_member(name, tensor.dtype, array.dtype)] = array
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _member(name: str, dtype: torch.dtype, stored: np.dtype[Any]) -> str:
    escaped = escape(name)
    if escaped in _NUMPY_ARGUMENTS:
        # They would be taken for arguments of `numpy.savez` itself.
        escaped = escape_character(escaped[0]) + escaped[1:]
    if NUMPY_TO_TORCH.get(stored) == dtype:
        return escaped
    return f"{escaped}{_TYPE_SEPARATOR}{dtype_name(dtype)}"
