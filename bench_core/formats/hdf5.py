"""HDF5 through h5py: one contiguous dataset per tensor in the root group.

The newest file version is written (``libver="latest"``): its metadata carry checksums, so damage
to them is found instead of followed. The data have none. The low-level calls of h5py are used for
a dataset's creation and reading: they do the same with a quarter of the time per small tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
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
from bench_core.formats.escaping import escape, unescape
from bench_core.formats.reading import (
    BoxReader,
    FillingReader,
    LazySpecs,
    check_file,
    corrupt_file_errors,
)
from bench_core.optional import require

_MAGIC: Final = b"\x89HDF\r\n\x1a\n"
_TYPE_ATTRIBUTE: Final = b"torch_dtype"
_SUBSTITUTES: Final = (np.dtype(np.uint8), np.dtype(np.uint16))
"""What may stand for a type that numpy lacks, which is then named in the attribute."""


class Hdf5(Format):
    """One dataset per tensor, contiguous, read straight into the destination."""

    name: ClassVar[str] = "hdf5"
    suffix: ClassVar[str] = ".h5"
    layout: ClassVar[str] = "hdf5"
    extra: ClassVar[str | None] = "storage"
    library: ClassVar[str | None] = "h5py"

    def write(
        self, tensors: Tensors, path: Path, durability: Durability = Durability.FSYNC_DIR
    ) -> WriteResult:
        """Write tensor by tensor; each is copied from its device only then."""
        self.check_available()
        return write_atomically(
            path,
            durability,
            lambda temporary: _write(tensors, temporary),
            bytes_logical=logical_bytes(tensors),
            # h5py turns a failed write at close into RuntimeError.
            library_errors=(RuntimeError,),
        )

    def open(self, path: Path) -> Reader:
        """Open the file; the library compares its stored length with the real one."""
        self.check_available()
        check_file(path, magic=_MAGIC)
        return _Hdf5Reader(path)


class _Hdf5Reader(FillingReader, BoxReader):
    def __init__(self, path: Path) -> None:
        self.path = path
        self._h5py: Any = require("h5py", "storage")
        with corrupt_file_errors(path):
            self._file = self._h5py.File(path, "r", locking=False)
            self._specs = _Specs(path, self._h5py, self._file)

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Name to shape and dtype; a dataset is opened when its entry is looked at."""
        return self._specs

    def fill(self, destinations: Tensors) -> None:
        everything = self._h5py.h5s.ALL
        for name, destination in destinations.items():
            with corrupt_file_errors(self.path):
                self._specs.dataset(name).read(everything, everything, to_numpy(destination))

    def read_box(self, name: str, box: tuple[slice, ...]) -> torch.Tensor:
        """Read a hyperslab."""
        dtype = self.specs[name].dtype
        with corrupt_file_errors(self.path):
            part = self._h5py.Dataset(self._specs.dataset(name))[box]
        return from_numpy(np.asarray(part, dtype=numpy_dtype(dtype)), dtype)

    def close(self) -> None:
        if not self.closed:
            self._specs.close()
            self._file.close()
        self.closed = True


class _Specs(LazySpecs):
    """The datasets of a file and their specs, opened one by one when needed."""

    def __init__(self, path: Path, h5py: Any, file: Any) -> None:
        super().__init__()
        self._path = path
        self._h5py = h5py
        self._file = file
        self._datasets: dict[str, Any] = {}

    def dataset(self, name: str) -> Any:
        """Return the low-level dataset of a tensor."""
        with corrupt_file_errors(self._path):
            return self._open(name)

    def close(self) -> None:
        """Release the datasets, without which the library keeps the file open."""
        self._datasets.clear()

    def find(self, name: str) -> TensorSpec:
        """Read shape and dtype, and compare them with the space that the dataset has."""
        dataset = self.dataset(name)
        with corrupt_file_errors(self._path):
            spec = TensorSpec(dataset.shape, self._torch_dtype(dataset, name))
            stored = dataset.get_storage_size()
            if stored != spec.nbytes and dataset.get_create_plist().get_nfilters() == 0:
                raise CorruptFileError(
                    f"{self._path}: {name!r} has {spec.nbytes} bytes, stored are {stored}"
                )
        return spec

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        try:
            self._open(name)
        except (KeyError, OSError, RuntimeError):
            # A link to a damaged dataset counts: reading it will say what is wrong.
            return escape(name).encode() in self._file.id
        return True

    def __iter__(self) -> Iterator[str]:
        with corrupt_file_errors(self._path):
            links = list(self._file)
        return map(unescape, links)

    def __len__(self) -> int:
        return len(self._file)

    def _open(self, name: str) -> Any:
        if name not in self._datasets:
            self._datasets[name] = self._h5py.h5d.open(self._file.id, escape(name).encode())
        return self._datasets[name]

    def _torch_dtype(self, dataset: Any, name: str) -> torch.dtype:
        stored = dataset.dtype.newbyteorder("=")
        if stored in _SUBSTITUTES and self._h5py.h5a.exists(dataset, _TYPE_ATTRIBUTE):
            dtype = DTYPES[self._h5py.Dataset(dataset).attrs[_TYPE_ATTRIBUTE.decode()]]
            if numpy_dtype(dtype) != stored:
                raise CorruptFileError(f"{self._path}: {name!r} is {stored}, said to be {dtype}")
            return dtype
        if stored not in NUMPY_TO_TORCH:
            raise UnsupportedError(f"{self._path}: {name!r} is {stored}, a type that torch lacks")
        return NUMPY_TO_TORCH[stored]


def _write(tensors: Tensors, path: Path) -> None:
    h5py: Any = require("h5py", "storage")
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    # Every byte is written at once: no fill values, and space as soon as the dataset exists.
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    # No file is written where it is read, and some network file systems have no locks.
    with h5py.File(path, "w", libver="latest", track_order=True, locking=False) as file:
        for name, tensor in tensors.items():
            array = to_numpy(on_host(tensor))
            space = h5py.h5s.create_simple(array.shape)
            kind = h5py.h5t.py_create(array.dtype)
            dataset = h5py.h5d.create(file.id, escape(name).encode(), kind, space, settings)
            if array.size:
                dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, array)
            if NUMPY_TO_TORCH.get(array.dtype) != tensor.dtype:
                attributes = h5py.Dataset(dataset).attrs
                attributes[_TYPE_ATTRIBUTE.decode()] = dtype_name(tensor.dtype)
