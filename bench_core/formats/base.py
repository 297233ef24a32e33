"""What every on-disk format offers: write, and a reader of all, some, or a slice of the tensors."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import torch

from bench_core.errors import TensorMismatchError, TensorNotFoundError, nearest
from bench_core.formats.host_copy import copy_tensors
from bench_core.optional import require

Tensors = Mapping[str, torch.Tensor]


class Durability(str, enum.Enum):
    """How far a write has come when the call says that it is done."""

    RETURN = "return"
    """The writer returned; the bytes may be in the page cache only."""
    FDATASYNC = "fdatasync"
    """The file's bytes are on the device."""
    FSYNC = "fsync"
    """The file's bytes and its metadata are on the device."""
    FSYNC_DIR = "fsync_dir"
    """Also its name: the directory was synced after the rename."""
    GLOBAL_SYNC = "global_sync"
    """`os.sync()`: everything dirty on the host, other processes' pages included."""


@dataclass(frozen=True)
class WriteResult:
    """What one write did, and when."""

    path: Path
    bytes_logical: int
    """Sum of the tensors' bytes."""
    bytes_physical: int
    """Bytes of the file or files that were written."""
    return_ns: int
    """From the call to the return of the writer, before any durability point."""
    durable_ns: int
    """From the call to the durability that was asked for, rename included."""


@dataclass(frozen=True)
class TensorSpec:
    """Shape and type of a stored tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: torch.Tensor) -> TensorSpec:
        """Return the spec of a tensor."""
        return cls(tuple(tensor.shape), tensor.dtype)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        count = 1
        for length in self.shape:
            count *= length
        return count * self.dtype.itemsize


class Reader(ABC):
    """An open model file. A context manager; reading after `close` raises `ValueError`."""

    path: Path
    closed: bool = False

    @property
    @abstractmethod
    def specs(self) -> Mapping[str, TensorSpec]:
        """Name to shape and dtype of every stored tensor, in file order."""

    @abstractmethod
    def read(self, names: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
        """Return the named tensors, or all; memory-mapped formats may return tensors not yet read.

        Raises:
            TensorNotFoundError: a name is not in the file (the nearest name is suggested).
            CorruptFileError: the file contradicts itself.
        """

    @abstractmethod
    def read_slice(self, name: str, index: tuple[slice, ...]) -> torch.Tensor:
        """Return ``tensor[index]``, reading as little more as the format can."""

    @abstractmethod
    def close(self) -> None:
        """Release the file. Tensors that alias its pages stay valid."""

    def read_into(self, tensors: Tensors) -> None:
        """Fill existing tensors from the stored ones of the same names.

        Raises:
            TensorNotFoundError: a name is not in the file.
            TensorMismatchError: a shape or dtype differs.
        """
        stored = self.read(list(tensors))
        for name, destination in tensors.items():
            self._check_same(name, TensorSpec.of(stored[name]), destination)
        copy_tensors((destination, stored[name]) for name, destination in tensors.items())

    def check_open(self) -> None:
        """Raise `ValueError` after `close`."""
        if self.closed:
            raise ValueError(f"{self.path}: read after close; open the file again")

    def check_names(self, names: Sequence[str]) -> None:
        """Raise `TensorNotFoundError` for the first name that the file does not hold."""
        for name in names:
            if name not in self.specs:
                raise TensorNotFoundError(
                    f"{self.path}: no tensor {name!r} among {len(self.specs)}"
                    f"{nearest(name, self.specs)}"
                )

    def check_destinations(self, tensors: Tensors) -> None:
        """Raise unless every destination exists in the file with the same shape and dtype."""
        self.check_names(list(tensors))
        for name, tensor in tensors.items():
            self._check_same(name, self.specs[name], tensor)

    def _check_same(self, name: str, stored: TensorSpec, tensor: torch.Tensor) -> None:
        if TensorSpec.of(tensor) != stored:
            raise TensorMismatchError(
                f"{self.path}: {name!r} is {stored.dtype} {list(stored.shape)} in the file, "
                f"the destination is {tensor.dtype} {list(tensor.shape)}"
            )

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Format(ABC):
    """One on-disk format, or one way to read a format another entry writes."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    """File name ending, with the dot; readers of one layout share it."""
    layout: ClassVar[str]
    """Formats of equal layout read each other's files (``"safetensors"``, ``"torch"``, …)."""
    extra: ClassVar[str | None] = None
    """The extra of bench-core that installs the library behind it."""
    library: ClassVar[str | None] = None
    """The module of that library."""
    is_writer: ClassVar[bool] = True
    """False where `write` only delegates to the layout's own writer."""
    is_lazy: ClassVar[bool] = False
    """True where `read` returns tensors whose bytes may not have been read yet (mmap)."""
    on_disk: ClassVar[bool] = True
    """False where the bytes live in a server (Redis)."""

    def check_available(self) -> None:
        """Raise `MissingExtraError` or `UnsupportedError` where this format cannot work here."""
        if self.library is not None and self.extra is not None:
            require(self.library, self.extra)

    @abstractmethod
    def write(
        self, tensors: Tensors, path: Path, durability: Durability = Durability.FSYNC_DIR
    ) -> WriteResult:
        """Write all tensors to ``path``, which appears whole or not at all.

        Raises:
            SaveError: the write failed (full disk, read-only folder) and nothing was replaced,
                unless the text says that it was written.
        """

    @abstractmethod
    def open(self, path: Path) -> Reader:
        """Open a file for reading.

        The header is checked here, where the library can do so without reading it a second time
        for the tensors; otherwise by the first read.

        Raises:
            CorruptFileError: the file is truncated or not of this format.
            FileNotFoundError: there is no such file.
        """

    def files(self, path: Path) -> list[Path]:
        """Return every file that holds bytes of the model at ``path``."""
        if path.is_dir():
            return sorted(file for file in path.rglob("*") if file.is_file())
        return [path]
