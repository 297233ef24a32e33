"""Readers of safetensors files: what they share, and the one that has many reads in flight."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from bench_core.formats.base import Reader, Tensors, TensorSpec
from bench_core.formats.direct import arena, raw_io, workers
from bench_core.formats.direct.fresh import allocate
from bench_core.formats.direct.header import Entry, Header, read_header
from bench_core.formats.direct.memory import is_plain
from bench_core.formats.direct.open_file import OpenFile
from bench_core.formats.direct.plan import Request, Span, plan
from bench_core.formats.direct.slices import Part, enclosing


class SafetensorsReader(Reader):
    """An open safetensors file; any number of threads may read from it at once."""

    def __init__(self, file: OpenFile, header: Header | None = None) -> None:
        """Take over an open file, and its header if that has been read.

        Raises:
            CorruptFileError: the header contradicts itself or the file, which is then closed.
        """
        self.path = file.path
        self.file = file
        try:
            self.header = read_header(file) if header is None else header
        except BaseException:
            file.close()
            raise

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Name to shape and dtype of every stored tensor, in file order."""
        return self.header.specs

    @abstractmethod
    def fill(self, spans: Iterable[Span]) -> None:
        """Copy parts of the file to plain memory; ``spans`` in file order, none of them empty."""

    def read_into(self, tensors: Tensors) -> None:
        """Fill existing tensors: contiguous CPU tensors with no memory beside the arena's.

        Of two names with one memory (tied weights) the last one is read.

        Raises:
            TensorNotFoundError: a name is not in the file.
            TensorMismatchError: a shape or dtype differs.
            CorruptFileError: the file was truncated after it was opened; some tensors are filled.
            ValueError: the reader was closed.
        """
        self.check_open()
        self.check_destinations(tensors)
        plain: dict[tuple[int, int], Entry] = {}
        others: list[str] = []
        for name, tensor in tensors.items():
            if is_plain(tensor):
                plain[tensor.data_ptr(), tensor.nbytes] = self.header.entries[name]
            else:
                others.append(name)
        self.fill(
            sorted(
                Span(entry.begin, entry.end, address)
                for (address, nbytes), entry in plain.items()
                if nbytes
            )
        )
        changed = (tensors[entry.name] for entry in plain.values())
        torch.autograd.graph.increment_version([t for t in changed if not t.is_inference()])
        with torch.no_grad():
            for name in others:
                tensors[name].copy_(self.read([name])[name])

    def entries(self, names: Iterable[str] | None = None) -> list[Entry]:
        """Return where the named tensors, or all, lie in the file; each once, in this order.

        Raises:
            TensorNotFoundError: a name is not in the file (the nearest name is suggested).
            ValueError: the reader was closed.
        """
        self.check_open()
        if names is None:
            return list(self.header.entries.values())
        wanted = list(dict.fromkeys(names))
        self.check_names(wanted)
        return [self.header.entries[name] for name in wanted]

    def part(self, name: str, index: tuple[slice, ...]) -> tuple[Part, Entry]:
        """Return what ``index`` cuts out of a tensor, and the range of the file that encloses it.

        Raises:
            TensorNotFoundError: the file has no such tensor.
            ValueError: a step below 1, or more slices than dimensions; the reader was closed.
        """
        (entry,) = self.entries([name])
        part = enclosing(entry.spec.shape, index)
        spec = TensorSpec((part.count,), entry.spec.dtype)
        begin = entry.begin + part.first * spec.dtype.itemsize
        return part, Entry(name, spec, begin, begin + spec.nbytes)

    def close(self) -> None:
        """Close the file. Tensors that were read stay valid."""
        self.file.close()
        self.closed = True


class PositionedReader(SafetensorsReader):
    """Reads with several requests in flight, past the page cache or through it.

    Memory: the tensors, and the arena.
    """

    @classmethod
    def open(cls, path: Path, *, direct: bool) -> PositionedReader:
        """Open ``path``, to be read past the page cache or through it.

        Raises:
            CorruptFileError: the header contradicts itself or the file.
            UnsupportedError: direct, and the platform or file system has no O_DIRECT.
            FileNotFoundError: there is no such file.
        """
        file = OpenFile(path)
        try:
            if direct:
                file.make_direct()
        except BaseException:
            file.close()
            raise
        return cls(file)

    def read(self, names: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
        """Return the named tensors, or all, in fresh memory.

        Raises:
            TensorNotFoundError: a name is not in the file (the nearest name is suggested).
            CorruptFileError: the file was truncated after it was opened.
            ValueError: the reader was closed.
        """
        tensors, requests = self.prepare(names)
        self._run(requests)
        return tensors

    def read_slice(self, name: str, index: tuple[slice, ...]) -> torch.Tensor:
        """Return ``tensor[index]``, reading from its first to its last element only.

        Raises:
            TensorNotFoundError: the file has no such tensor.
            ValueError: a step below 1, or more slices than dimensions; the reader was closed.
        """
        part, entry = self.part(name, index)
        tensors, spans = allocate([entry], self.file.alignment)
        self.fill(spans)
        return part.of(tensors[name])

    def fill(self, spans: Iterable[Span]) -> None:
        """Copy parts of the file to plain memory, with as few copies as alignment allows."""
        self._run(plan(spans, self.file.alignment))

    def prepare(
        self, names: Iterable[str] | None = None
    ) -> tuple[dict[str, torch.Tensor], list[Request]]:
        """Return the named tensors, not yet filled, and the requests whose `perform` fills them.

        Raises:
            TensorNotFoundError: a name is not in the file.
            ValueError: the reader was closed.
        """
        wanted = self.entries(names)
        tensors, spans = allocate(sorted(wanted, key=_position), self.file.alignment)
        in_order = {entry.name: tensors[entry.name] for entry in wanted}
        return in_order, plan(spans, self.file.alignment)

    def perform(self, request: Request) -> None:
        """Do one request; in the order given or any other, in any thread.

        Raises:
            CorruptFileError: the file was truncated after it was opened.
        """
        if request.address is not None:
            self.file.read(request.address, request.offset, request.nbytes)
            return
        with arena.current().chunk() as chunk:
            self.file.read(chunk, request.offset, request.nbytes)
            for position, span, skip, nbytes in request.copies:
                raw_io.copy(span.address + skip, chunk + position, nbytes)

    def _run(self, requests: list[Request]) -> None:
        if self.file.is_direct:
            workers.run(requests, self.perform)
            return
        # Through the page cache a read is a copy, at least where this way was chosen for speed.
        depth = workers.depth_for_copies(sum(request.nbytes for request in requests))
        workers.run(requests, self.perform, depth)


def _position(entry: Entry) -> tuple[int, int]:
    return entry.begin, entry.end
