"""The safetensors format through its own library: memory-mapped, and with `pread`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from safetensors import SafetensorError, safe_open, serialize_file
from safetensors import TensorSpec as StoredSpec

from bench_core.errors import UnsupportedError
from bench_core.formats.atomic import scratch_folder, write_atomically
from bench_core.formats.base import (
    Durability,
    Format,
    Reader,
    Tensors,
    TensorSpec,
    WriteResult,
)
from bench_core.formats.dtypes import DTYPES, logical_bytes, on_host
from bench_core.formats.host_copy import copy_tensors
from bench_core.formats.reading import BoxReader, check_file, corrupt_file_errors

HEADER_LENGTH_BYTES: Final = 8
_RESERVED: Final = "__metadata__"


class SafetensorsMmap(Format):
    """``safe_open`` with its memory map: tensors are read when they are touched."""

    name: ClassVar[str] = "safetensors"
    suffix: ClassVar[str] = ".safetensors"
    layout: ClassVar[str] = "safetensors"
    is_lazy: ClassVar[bool] = True
    backend: ClassVar[str] = "mmap"

    def write(
        self, tensors: Tensors, path: Path, durability: Durability = Durability.FSYNC_DIR
    ) -> WriteResult:
        """Write with the library's `serialize_file`, as its `save_file` does.

        `save_file` itself refuses tensors that share memory; here each is written.
        """
        return write_safetensors(tensors, path, durability)

    def open(self, path: Path) -> Reader:
        """Open and let the library check the header against the file's size."""
        check_file(path, least=HEADER_LENGTH_BYTES)
        return SafetensorsReader(path, self.backend)


class SafetensorsPread(SafetensorsMmap):
    """``safe_open`` with ``backend="pread"``: no map, every tensor is read into fresh memory."""

    name: ClassVar[str] = "safetensors_pread"
    is_writer: ClassVar[bool] = False
    is_lazy: ClassVar[bool] = False
    backend: ClassVar[str] = "pread"


class SafetensorsByOthers(Format):
    """Another library's way to read the layout; what it reads is written as by this module."""

    suffix: ClassVar[str] = ".safetensors"
    layout: ClassVar[str] = "safetensors"
    extra: ClassVar[str | None] = "storage"
    is_writer: ClassVar[bool] = False

    def write(
        self, tensors: Tensors, path: Path, durability: Durability = Durability.FSYNC_DIR
    ) -> WriteResult:
        """Write as the safetensors format does."""
        return write_safetensors(tensors, path, durability)

    def open(self, path: Path) -> Reader:
        """Check that it can be a safetensors file, and hand it to the library."""
        self.check_available()
        check_file(path, least=HEADER_LENGTH_BYTES)
        return self.open_reader(path)

    @abstractmethod
    def open_reader(self, path: Path) -> Reader:
        """Open a file that is long enough to be of this layout."""


def write_safetensors(tensors: Tensors, path: Path, durability: Durability) -> WriteResult:
    """Write a safetensors file for any format of that layout.

    Raises:
        SaveError: as `Format.write`.
        UnsupportedError: a tensor or a name that the format cannot store.
    """
    if _RESERVED in tensors:
        raise UnsupportedError(f"{path}: safetensors reserves the name {_RESERVED!r}; rename it")
    return write_atomically(
        path,
        durability,
        lambda temporary: _serialize(tensors, temporary),
        bytes_logical=logical_bytes(tensors),
        library_errors=(SafetensorError,),
    )


class SafetensorsReader(BoxReader):
    """An open safetensors file."""

    def __init__(self, path: Path, backend: str) -> None:
        self.path = path
        with corrupt_file_errors(path):
            self._file: Any = safe_open(path, framework="pt", device="cpu", backend=backend)

    @cached_property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Name to shape and dtype, in file order."""
        self.check_open()
        return {name: self._spec(name) for name in self._file.offset_keys()}

    def read(self, names: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
        """Return the named tensors, or all, as the library gives them."""
        self.check_open()
        if names is not None:
            self.check_names(names)
        with corrupt_file_errors(self.path):
            if names is None:
                return dict(self._file.get_tensors())
            return {name: self._file.get_tensor(name) for name in names}

    def read_into(self, tensors: Tensors) -> None:
        """Read and copy tensor by tensor: no second model in memory, and the same pages reused."""
        self.check_open()
        self.check_destinations(tensors)
        for name, destination in tensors.items():
            copy_tensors([(destination, self.read([name])[name])])

    def read_box(self, name: str, box: tuple[slice, ...]) -> torch.Tensor:
        """Cut with the library's own slices."""
        with corrupt_file_errors(self.path):
            part: torch.Tensor = self._file.get_slice(name)[box]
        return part

    def close(self) -> None:
        """Release the file; tensors that alias its map keep it mapped."""
        if not self.closed:
            self._file.__exit__(None, None, None)
        self.closed = True

    def _spec(self, name: str) -> TensorSpec:
        stored = self._file.get_slice(name)
        dtype = stored.get_dtype()
        if dtype not in DTYPES:
            raise UnsupportedError(f"{self.path}: {name!r} is {dtype}, a type that torch lacks")
        return TensorSpec(tuple(stored.get_shape()), DTYPES[dtype])


def _serialize(tensors: Tensors, temporary: Path) -> None:
    host = {name: on_host(tensor) for name, tensor in tensors.items()}
    specs = {
        name: StoredSpec(
            dtype=str(tensor.dtype).removeprefix("torch."),
            shape=tensor.shape,
            data_ptr=tensor.data_ptr(),
            data_len=tensor.nbytes,
        )
        for name, tensor in host.items()
    }
    temporary.touch()
    mode = temporary.stat().st_mode
    # The library writes to a temporary of its own, readable by its owner only, and renames it; if
    # the process is killed that one stays behind, so it gets a folder that is found and removed.
    with scratch_folder(temporary) as folder:
        serialize_file(specs, folder / "model")
        (folder / "model").replace(temporary)
    temporary.chmod(mode)
