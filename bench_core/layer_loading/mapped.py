"""Reading a safetensors file through a memory mapping: nothing is read until it is touched."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import sys
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final

import torch

from bench_core.formats.direct import raw_io, workers
from bench_core.formats.direct.arena import CHUNK_BYTES
from bench_core.formats.direct.header import Header
from bench_core.formats.direct.memory import view
from bench_core.formats.direct.open_file import OpenFile
from bench_core.formats.direct.plan import Span
from bench_core.formats.direct.reader import SafetensorsReader
from bench_core.layer_loading.populating import populate

_FAILED: Final = ctypes.c_void_p(-1).value

_NO_RESERVE: Final = (
    0x4000 if sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64") else 0
)
"""MAP_NORESERVE of linux/mman.h; not every Python's `mmap` names it."""


class FileMapping:
    """A whole file in memory, copy-on-write: what is written there stays in this process.

    It goes when nothing refers to `buffer` any more. Python's own `mmap` would keep a descriptor
    for as long, one a file.
    """

    def __init__(self, file: OpenFile, *, is_writable: bool = True) -> None:
        """Map a file that is not empty.

        Args:
            file: what to map.
            is_writable: whether its pages may be changed. One that is only looked at needs no
                promise of memory, and so can be mapped where a writable one is refused.

        Raises:
            OSError: the file system cannot map files, or there is no room for so large a one.
        """
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if is_writable else 0)
        # Memory is not set aside for changes to every page: most files are never changed, and one
        # that is larger than the memory could not be mapped at all.
        flags = mmap.MAP_PRIVATE | _NO_RESERVE
        map_, unmap = _functions()
        address = map_(None, file.size, protection, flags, file.descriptor, 0)
        if address == _FAILED:
            code = ctypes.get_errno()
            raise OSError(code, f"cannot be mapped, {os.strerror(code)}", str(file.path))
        self.address: int = address
        self.buffer = (ctypes.c_char * file.size).from_address(address)
        # At the end of the process tensors may outlive this, and the pages go anyway.
        weakref.finalize(self.buffer, unmap, address, file.size).atexit = False


class MappedReader(SafetensorsReader):
    """Returns tensors that are views of the file's pages; they stay valid after `close`.

    What is asked for is read when it is touched, or at once where the reader ``populates``.

    Another program that truncates the file while they are in use ends this process at their next
    touch (SIGBUS), as with every mapping. One that replaces it by a rename does no harm.
    """

    def __init__(
        self, file: OpenFile, header: Header | None = None, *, populates: bool = False
    ) -> None:
        """Take over an open file, and its header if that has been read.

        Raises:
            CorruptFileError: the header contradicts itself or the file, which is then closed.
            OSError: the file cannot be mapped; likewise.
        """
        super().__init__(file, header)
        self._populates = populates
        try:
            self._mapping = FileMapping(file)
        except OSError:
            file.close()
            raise

    def read(self, names: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
        """Return the named tensors, or all; not yet read, but for misaligned ones.

        Raises:
            TensorNotFoundError: a name is not in the file (the nearest name is suggested).
            CorruptFileError: it populates, and the file was truncated after it was opened.
            ValueError: the reader was closed.
        """
        entries = self.entries(names)
        self._populate((entry.begin, entry.end) for entry in entries)
        return {
            entry.name: view(self._mapping.buffer, entry.begin, entry.spec) for entry in entries
        }

    def read_slice(self, name: str, index: tuple[slice, ...]) -> torch.Tensor:
        """Return ``tensor[index]``, a view not yet read, but for a misaligned one.

        Where the reader populates, its range is read, from its first to its last element.

        Raises:
            TensorNotFoundError: the file has no such tensor.
            CorruptFileError: it populates, and the file was truncated after it was opened.
            ValueError: a step below 1, or more slices than dimensions; the reader was closed.
        """
        part, entry = self.part(name, index)
        self._populate([(entry.begin, entry.end)])
        return part.within(view(self._mapping.buffer, entry.begin, entry.spec))

    def fill(self, spans: Iterable[Span]) -> None:
        """Copy parts of the file to plain memory."""
        spans = list(spans)
        self._populate((span.begin, span.end) for span in spans)
        start = self._mapping.address

        def copy(part: Span) -> None:
            raw_io.copy(part.address, start + part.begin, part.end - part.begin)

        parts = [part for span in spans for part in _parts(span)]
        depth = workers.depth_for_copies(sum(part.end - part.begin for part in parts))
        workers.run(parts, copy, depth)

    def _populate(self, ranges: Iterable[tuple[int, int]]) -> None:
        if self._populates:
            populate(self.file, self._mapping.address, ranges)


def _parts(span: Span) -> Iterable[Span]:
    for begin in range(span.begin, span.end, CHUNK_BYTES):
        end = min(begin + CHUNK_BYTES, span.end)
        yield Span(begin, end, span.address + begin - span.begin)


@cache
def _functions() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return mmap(2) and munmap(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    size, number = ctypes.c_size_t, ctypes.c_int
    libc.mmap.argtypes = [ctypes.c_void_p, size, number, number, number, ctypes.c_int64]
    libc.mmap.restype = ctypes.c_void_p
    libc.munmap.argtypes = [ctypes.c_void_p, size]
    return libc.mmap, libc.munmap
