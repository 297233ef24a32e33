"""What the readers share: checks before a library sees a file, and its errors as one line."""

from __future__ import annotations

import errno
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from bench_core.errors import BenchCoreError, CorruptFileError
from bench_core.formats.atomic import one_line, size_on_disk
from bench_core.formats.base import Reader, Tensors, TensorSpec


def check_file(path: Path, *, magic: bytes = b"", least: int = 1) -> None:
    """Check that ``path`` is a file of at least ``least`` bytes that begins with ``magic``.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        CorruptFileError: it is something else.
    """
    _check_exists(path)
    if not path.is_file():
        raise CorruptFileError(f"{path}: is a folder, expected a file")
    size = path.stat().st_size
    if size < max(least, len(magic)):
        raise CorruptFileError(f"{path}: truncated, {size} bytes are too few for this format")
    with path.open("rb") as file:
        start = file.read(len(magic))
    if start != magic:
        raise CorruptFileError(f"{path}: starts with {start!r}, expected {magic!r}")


def check_folder(path: Path, marker: str) -> None:
    """Check that ``path`` is a folder that holds the file ``marker``.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        CorruptFileError: it is something else.
    """
    _check_exists(path)
    if not path.is_dir():
        raise CorruptFileError(f"{path}: is a file, expected a folder with {marker}")
    if not (path / marker).is_file():
        raise CorruptFileError(f"{path}: has no {marker}; not this format, or half copied")


def check_sizes(path: Path, specs: Mapping[str, TensorSpec]) -> None:
    """Check that a file is large enough for its tensors, before memory is allocated for them.

    Raises:
        CorruptFileError: the tensors have more bytes than the file or folder.
    """
    needed = sum(spec.nbytes for spec in specs.values())
    size = size_on_disk(path)
    if needed > size:
        raise CorruptFileError(f"{path}: the tensors have {needed} bytes, the file only {size}")


class Unchanged:
    """Notices that a path, which a library opens again for each read, leads to another file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity = self._look()

    def check(self) -> None:
        """Raise `CorruptFileError` if a writer has replaced the file since it was opened."""
        if self._look() != self._identity:
            raise CorruptFileError(f"{self._path}: was replaced since it was opened; open it again")

    def _look(self) -> tuple[int, int, int]:
        status = self._path.stat()
        return status.st_dev, status.st_ino, status.st_mtime_ns


@contextmanager
def corrupt_file_errors(path: Path) -> Iterator[None]:
    """Turn whatever a library raises while it parses ``path`` into `CorruptFileError`.

    Parsers of untrusted bytes raise all kinds, from `KeyError` to `MemoryError`. Errors of this
    package and of the operating system pass, unless the system was given a senseless offset.
    """
    try:
        yield
    except BenchCoreError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise CorruptFileError(
            f"{path}: cannot be read, {type(error).__name__}: {one_line(error)}; the file is "
            "damaged or of another format"
        ) from error


class LazySpecs(Mapping[str, TensorSpec]):
    """Specs that are found when looked at: one tensor is read without listing the file."""

    def __init__(self) -> None:
        self._found: dict[str, TensorSpec] = {}

    @abstractmethod
    def find(self, name: str) -> TensorSpec:
        """Return the spec of a tensor that the file holds."""

    @abstractmethod
    def __contains__(self, name: object) -> bool:
        """Return whether the file holds this tensor."""

    def __getitem__(self, name: str) -> TensorSpec:
        if name not in self._found:
            if name not in self:
                raise KeyError(name)
            self._found[name] = self.find(name)
        return self._found[name]


class WholeTensorReader(Reader):
    """A reader of a library that reads whole tensors: a slice is cut from one."""

    def read_slice(self, name: str, index: tuple[slice, ...]) -> torch.Tensor:
        """Read the tensor and copy ``tensor[index]``, so that the rest can be freed.

        Raises:
            ValueError: a step below 1, or more slices than dimensions.
        """
        tensor = self.read([name])[name]
        _cuts(name, tuple(tensor.shape), index)
        return tensor[index].clone()


class BoxReader(Reader):
    """A reader of a library that cuts boxes out of tensors: ranges without steps."""

    @abstractmethod
    def read_box(self, name: str, box: tuple[slice, ...]) -> torch.Tensor:
        """Return ``tensor[box]``: a range for each of the first dimensions, none empty."""

    def read_slice(self, name: str, index: tuple[slice, ...]) -> torch.Tensor:
        """Return ``tensor[index]``: the box around it is read, steps are applied to that.

        Raises:
            ValueError: a step below 1, or more slices than dimensions.
        """
        self.check_open()
        self.check_names([name])
        spec = self.specs[name]
        cuts = _cuts(name, spec.shape, index)
        if not cuts or 0 in spec.shape:
            return self.read([name])[name][index]
        if any(stop <= start for start, stop, _ in cuts):
            shape = [len(range(*cut)) for cut in cuts] + list(spec.shape[len(cuts) :])
            return torch.empty(shape, dtype=spec.dtype)
        steps = tuple(slice(None, None, step) for _, _, step in cuts)
        return self.read_box(name, tuple(slice(start, stop) for start, stop, _ in cuts))[steps]


def _cuts(
    name: str, shape: tuple[int, ...], index: tuple[slice, ...]
) -> list[tuple[int, int, int]]:
    """Return start, stop and step for each slice of ``index``, within the shape."""
    if len(index) > len(shape):
        raise ValueError(f"{len(index)} slices for {name!r}, which has {len(shape)} dimensions")
    cuts = [cut.indices(length) for cut, length in zip(index, shape, strict=False)]
    if any(step < 1 for _, _, step in cuts):
        raise ValueError(f"a step below 1 in a slice of {name!r}, at least 1 expected")
    return cuts


class FillingReader(Reader):
    """A reader of a library that can put the bytes where they belong: no copy in between."""

    @abstractmethod
    def fill(self, destinations: Tensors) -> None:
        """Read the tensors of these names into contiguous CPU tensors of the stored type."""

    def read(self, names: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
        """Return the named tensors, or all, in fresh memory."""
        self.check_open()
        wanted = list(self.specs) if names is None else names
        if names is not None:
            self.check_names(names)
        tensors = {
            name: torch.empty(self.specs[name].shape, dtype=self.specs[name].dtype)
            for name in wanted
        }
        self.fill(tensors)
        return tensors

    def read_into(self, tensors: Tensors) -> None:
        """Fill existing tensors; those on the CPU and contiguous without a copy in between."""
        self.check_open()
        self.check_destinations(tensors)
        staged = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype)
            for name, tensor in tensors.items()
            if not (tensor.is_cpu and tensor.is_contiguous())
        }
        self.fill({name: staged.get(name, tensor.detach()) for name, tensor in tensors.items()})
        for name, tensor in staged.items():
            tensors[name].detach().copy_(tensor)


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
