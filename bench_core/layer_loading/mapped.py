"""Reading a safetensors file through a memory mapping: nothing is read until it is touched."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence

import torch

from bench_core.formats.direct import raw_io, workers
from bench_core.formats.direct.arena import CHUNK_BYTES
from bench_core.formats.direct.header import Header
from bench_core.formats.direct.open_file import OpenFile
from bench_core.formats.direct.pages import view
from bench_core.formats.direct.plan import Span
from bench_core.formats.direct.reader import SafetensorsReader


def map_file(file: OpenFile) -> mmap.mmap:
    """Map a whole file copy-on-write: what is written to its tensors stays in this process."""
    return mmap.mmap(file.descriptor, file.size, access=mmap.ACCESS_COPY)


class MappedReader(SafetensorsReader):
    """Returns tensors that are views of the file's pages; they stay valid after `close`.

    Another program that truncates the file while they are in use ends this process at their next
    touch (SIGBUS), as with every mapping. One that replaces it by a rename does no harm.
    """

    def __init__(self, file: OpenFile, header: Header | None = None) -> None:
        """Take over an open file, and its header if that has been read.

        Raises:
            CorruptFileError: the header contradicts itself or the file, which is then closed.
        """
        super().__init__(file, header)
        self._map = map_file(file)

    def read(self, names: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
        """Return the named tensors, or all, not yet read (but for misaligned ones).

        Raises:
            TensorNotFoundError: a name is not in the file (the nearest name is suggested).
            ValueError: the file was closed.
        """
        self.file.check_open()
        names = list(self.header.entries) if names is None else names
        self.check_names(names)
        entries = (self.header.entries[name] for name in names)
        return {entry.name: view(self._map, entry.begin, entry.spec) for entry in entries}

    def read_slice(self, name: str, index: tuple[slice, ...]) -> torch.Tensor:
        """Return ``tensor[index]``, a view not yet read.

        Raises:
            TensorNotFoundError: the file has no such tensor.
        """
        return self.read([name])[name][index]

    def fill(self, spans: Iterable[Span]) -> None:
        """Copy parts of the file to plain memory."""
        self.file.check_open()
        start = torch.frombuffer(self._map, dtype=torch.uint8).data_ptr()

        def copy(part: Span) -> None:
            raw_io.copy(part.address, start + part.begin, part.end - part.begin)

        workers.run((part for span in spans for part in _parts(span)), copy)


def _parts(span: Span) -> Iterable[Span]:
    for begin in range(span.begin, span.end, CHUNK_BYTES):
        end = min(begin + CHUNK_BYTES, span.end)
        yield Span(begin, end, span.address + begin - span.begin)
