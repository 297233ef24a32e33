"""A folder of torch.distributed.checkpoint, written and read by one process without a group."""

from __future__ import annotations

import math
import os
import pickle
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

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
from bench_core.formats.dtypes import logical_bytes
from bench_core.formats.reading import (
    FillingReader,
    Unchanged,
    WholeTensorReader,
    check_folder,
    check_sizes,
    corrupt_file_errors,
)

_MARKER: Final = ".metadata"
_MOST_THREADS: Final = 8
_CHECKPOINT: Final = "torch.distributed.checkpoint"
_CLASSES: Final = {
    f"{_CHECKPOINT}.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    f"{_CHECKPOINT}.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "pathlib": {"PosixPath", "WindowsPath"},
    "pathlib._local": {"PosixPath", "WindowsPath"},
}
"""What metadata consist of, by module; beside these, torch's types and `torch.Size`."""


class DistributedCheckpoint(Format):
    """`torch.distributed.checkpoint.save` and ``load``, which reads the tensors it is given."""

    name: ClassVar[str] = "dcp"
    suffix: ClassVar[str] = ".dcp"
    layout: ClassVar[str] = "dcp"

    def check_available(self) -> None:
        """Raise `UnsupportedError` where torch was built without its distributed part."""
        if not torch.distributed.is_available():
            raise UnsupportedError("this build of torch has no torch.distributed")

    def write(
        self, tensors: Tensors, path: Path, durability: Durability = Durability.FSYNC_DIR
    ) -> WriteResult:
        """Write by several threads, each its own file; files are synced after the writer's end."""
        self.check_available()
        return write_atomically(
            path,
            durability,
            lambda temporary: _write(tensors, temporary),
            bytes_logical=logical_bytes(tensors),
            library_errors=(RuntimeError,),
            marker=_MARKER,
        )

    def open(self, path: Path) -> Reader:
        """Read the metadata and check them against the files they name."""
        self.check_available()
        check_folder(path, _MARKER)
        return _CheckpointReader(path)


class _CheckpointReader(FillingReader, WholeTensorReader):
    def __init__(self, path: Path) -> None:
        self.path = path
        self._unchanged = Unchanged(path / _MARKER)
        with corrupt_file_errors(path):
            self._metadata = _read_metadata(path)
            self._specs = _specs(path, self._metadata)
            _check_stored(path, self._metadata)
        check_sizes(path, self._specs)

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def fill(self, destinations: Tensors) -> None:
        from torch.distributed.checkpoint.filesystem import FileSystemReader
        from torch.distributed.checkpoint.state_dict_loader import load

        metadata = self._metadata

        class Storage(FileSystemReader):
            """Takes the metadata that were read, and checked, at the opening."""

            def read_metadata(self, *args: Any, **kwargs: Any) -> Any:
                return metadata

        with corrupt_file_errors(self.path), _single_process():
            load(dict(destinations), storage_reader=Storage(self.path), no_dist=True)
        self._unchanged.check()

    def close(self) -> None:
        self.closed = True


class _Unpickler(pickle.Unpickler):
    """Makes what the metadata consist of and nothing else: a file cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        # By exact names: a module holds others, and a dotted name leads out of it.
        if name in _CLASSES.get(module, ()):
            return super().find_class(module, name)
        if module == "torch":
            found = getattr(torch, name, None)
            if found is torch.Size or isinstance(found, torch.dtype):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a checkpoint's metadata")


def _write(tensors: Tensors, path: Path) -> None:
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    from bench_core.formats.dcp_streams import Streams

    # Threads copy and write at once: twice the cores were best on 2 cores, by a fifth.
    threads = min(_MOST_THREADS, 2 * (os.cpu_count() or 1))
    writer = FileSystemWriter(path, sync_files=False, thread_count=threads)
    writer.fs = streams = Streams()
    state = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    try:
        with _single_process():
            metadata = save(state, storage_writer=writer, no_dist=True)
    finally:
        streams.end()
    if streams.errors:
        raise streams.errors[0]
    if len(metadata.storage_data or {}) != len(state):
        raise RuntimeError(f"only {len(metadata.storage_data or {})} of {len(state)} were written")


@contextmanager
def _single_process() -> Iterator[None]:
    """Raise the error behind a `CheckpointException`; silence the note that there is no group."""
    from torch.distributed.checkpoint.api import CheckpointException

    with _NOTE_IS_SILENT:
        try:
            yield
        except CheckpointException as error:
            raise next(iter(error.failures.values()))[0] from error


class _NoteIsSilent:
    """Silences the note for as long as any thread saves or loads.

    `warnings.catch_warnings` puts back what it found: of two threads one would find, and put back
    for good, what the other had changed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            self._users += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._caught.__exit__(None, None, None)


_NOTE_IS_SILENT: Final = _NoteIsSilent()


def _read_metadata(path: Path) -> Any:
    from torch.distributed.checkpoint.metadata import Metadata

    with (path / _MARKER).open("rb") as file:
        metadata = _Unpickler(file).load()
    if not isinstance(metadata, Metadata):
        raise CorruptFileError(f"{path}: {_MARKER} holds a {type(metadata).__name__}")
    return metadata


def _specs(path: Path, metadata: Any) -> dict[str, TensorSpec]:
    specs = {}
    for name, entry in metadata.state_dict_metadata.items():
        if not hasattr(entry, "properties"):
            raise UnsupportedError(f"{path}: entry {name!r} is no tensor; save the tensors alone")
        dtype, size = entry.properties.dtype, entry.size
        if not isinstance(dtype, torch.dtype) or not isinstance(size, torch.Size):
            raise CorruptFileError(f"{path}: {name!r} is said to be {dtype!r} of size {size!r}")
        specs[name] = TensorSpec(tuple(size), dtype)
    return specs


def _check_stored(path: Path, metadata: Any) -> None:
    """Check that chunks cover their tensors and that the files hold them.

    A part that no chunk covers would be left as it was in the destination, without an error.
    """
    for name, entry in metadata.state_dict_metadata.items():
        covered = sum(math.prod(chunk.sizes) for chunk in entry.chunks)
        is_inside = all(
            0 <= offset <= offset + length <= size
            for chunk in entry.chunks
            for offset, length, size in zip(chunk.offsets, chunk.sizes, entry.size, strict=True)
        )
        if not is_inside or covered != math.prod(entry.size):
            raise CorruptFileError(f"{path}: the chunks of {name!r} do not add up to it")
    sizes: dict[str, int] = {}
    for place in (metadata.storage_data or {}).values():
        if place.relative_path not in sizes:
            file = path / place.relative_path
            sizes[place.relative_path] = file.stat().st_size if file.is_file() else 0
        if place.offset + place.length > sizes[place.relative_path]:
            raise CorruptFileError(
                f"{path}: {place.relative_path} has {sizes[place.relative_path]} bytes, "
                f"expected {place.offset + place.length}; it is truncated or missing"
            )
