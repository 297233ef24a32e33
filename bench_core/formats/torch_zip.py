"""The zip archive of `torch.save`: as it is, without CRC-32, and read through a memory map.

Reading unpickles with ``weights_only=True``: a file cannot run code. `torch.load` does not compare
the CRC-32 that `torch.save` stores, so a flipped bit in the data of a tensor is not noticed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

import torch

from bench_core.errors import UnsupportedError
from bench_core.formats.atomic import write_atomically
from bench_core.formats.base import (
    Durability,
    Format,
    Reader,
    Tensors,
    TensorSpec,
    WriteResult,
)
from bench_core.formats.dtypes import logical_bytes
from bench_core.formats.reading import (
    BoxReader,
    Unchanged,
    WholeTensorReader,
    check_file,
    corrupt_file_errors,
)

_ZIP_MAGIC: Final = b"PK\x03\x04"


class TorchZip(Format):
    """`torch.save` and `torch.load`, which reads the whole archive whatever is asked for."""

    name: ClassVar[str] = "torch"
    suffix: ClassVar[str] = ".pt"
    layout: ClassVar[str] = "torch"

    def write(
        self, tensors: Tensors, path: Path, durability: Durability = Durability.FSYNC_DIR
    ) -> WriteResult:
        """Write with `torch.save`, which copies from a device storage by storage."""
        return write_atomically(
            path,
            durability,
            lambda temporary: torch.save(_own_storages(tensors), temporary),
            bytes_logical=logical_bytes(tensors),
            # PyTorchStreamWriter raises RuntimeError when the disk is full.
            library_errors=(RuntimeError,),
        )

    def open(self, path: Path) -> Reader:
        """Check that it is a zip archive; the rest is checked by the first read."""
        check_file(path, magic=_ZIP_MAGIC)
        return _WholeReader(path)


class TorchZipNoCrc(TorchZip):
    """The same without the CRC-32 of each record: ``set_crc32_options(False)`` during the save.

    The switch belongs to the process: a `torch.save` in another thread meanwhile has none either.
    """

    name: ClassVar[str] = "torch_no_crc"

    def write(
        self, tensors: Tensors, path: Path, durability: Durability = Durability.FSYNC_DIR
    ) -> WriteResult:
        """Write with CRC-32 off and put the process's setting back."""
        before = torch.serialization.get_crc32_options()
        torch.serialization.set_crc32_options(False)
        try:
            return super().write(tensors, path, durability)
        finally:
            torch.serialization.set_crc32_options(before)


class TorchZipMmap(TorchZip):
    """`torch.load` with ``mmap=True``: tensors whose bytes are read when they are touched."""

    name: ClassVar[str] = "torch_mmap"
    is_writer: ClassVar[bool] = False
    is_lazy: ClassVar[bool] = True

    def open(self, path: Path) -> Reader:
        """Map the file and unpickle its index."""
        check_file(path, magic=_ZIP_MAGIC)
        return _MappedReader(path)


class _WholeReader(WholeTensorReader):
    """Loads everything for each read: the control that the selective formats are compared to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._unchanged = Unchanged(path)
        self._specs: dict[str, TensorSpec] | None = None

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Name to shape and dtype; unpickled through a map when nothing was read before."""
        if self._specs is None:
            self._load(mmap=True)
        return self._specs or {}

    def read(self, names: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
        """Load the archive and keep what was asked for."""
        self.check_open()
        tensors = self._load(mmap=False)
        if names is None:
            return tensors
        self.check_names(names)
        return {name: tensors[name] for name in names}

    def close(self) -> None:
        """Nothing is held open."""
        self.closed = True

    def _load(self, *, mmap: bool) -> dict[str, torch.Tensor]:
        tensors = _load(self.path, mmap=mmap)
        self._unchanged.check()
        self._specs = _specs(tensors)
        return tensors


class _MappedReader(BoxReader):
    def __init__(self, path: Path) -> None:
        self.path = path
        self._tensors = _load(path, mmap=True)
        self._specs = _specs(self._tensors)

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def read(self, names: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
        self.check_open()
        self.check_names(names or [])
        return {name: self._tensors[name] for name in (self._specs if names is None else names)}

    def read_box(self, name: str, box: tuple[slice, ...]) -> torch.Tensor:
        return self._tensors[name][box]

    def close(self) -> None:
        self._tensors = {}
        self.closed = True


def _load(path: Path, *, mmap: bool) -> dict[str, torch.Tensor]:
    with corrupt_file_errors(path):
        loaded = torch.load(path, map_location="cpu", mmap=mmap, weights_only=True)
    if not isinstance(loaded, dict):
        raise UnsupportedError(
            f"{path}: holds a {type(loaded).__name__}, expected a dict of name to tensor"
        )
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise UnsupportedError(
                f"{path}: entry {name!r} is a {type(value).__name__}, expected a tensor; save the "
                "state dict alone"
            )
    return dict(loaded)


def _specs(tensors: Tensors) -> dict[str, TensorSpec]:
    return {name: TensorSpec.of(tensor) for name, tensor in tensors.items()}


def _own_storages(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Return contiguous tensors, copied where a save would write more of a storage than is used.

    `torch.save` writes whole storages: one row of a large matrix would carry the matrix.
    """
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    used: defaultdict[int, int] = defaultdict(int)
    for tensor in contiguous.values():
        used[tensor.untyped_storage().data_ptr()] += tensor.nbytes
    return {
        name: tensor
        if tensor.untyped_storage().nbytes() <= used[tensor.untyped_storage().data_ptr()]
        else tensor.clone()
        for name, tensor in contiguous.items()
    }
