"""Run:ai Model Streamer: reads safetensors files by concurrent requests, here to the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from bench_core.formats.base import (
    Durability,
    Format,
    Reader,
    Tensors,
    TensorSpec,
    WriteResult,
)
from bench_core.formats.reading import (
    Unchanged,
    WholeTensorReader,
    check_file,
    corrupt_file_errors,
)
from bench_core.formats.safetensors_file import (
    HEADER_LENGTH_BYTES,
    SafetensorsReader,
    write_safetensors,
)
from bench_core.optional import require


class RunaiStreamer(Format):
    """``SafetensorsStreamer`` with its own choice of threads, io_uring and direct I/O."""

    name: ClassVar[str] = "runai"
    suffix: ClassVar[str] = ".safetensors"
    layout: ClassVar[str] = "safetensors"
    extra: ClassVar[str | None] = "storage"
    library: ClassVar[str | None] = "runai_model_streamer"
    is_writer: ClassVar[bool] = False

    def write(
        self, tensors: Tensors, path: Path, durability: Durability = Durability.FSYNC_DIR
    ) -> WriteResult:
        """Write as the safetensors format does."""
        return write_safetensors(tensors, path, durability)

    def open(self, path: Path) -> Reader:
        """Check that it can be a safetensors file; the library parses the header at each read."""
        self.check_available()
        check_file(path, least=HEADER_LENGTH_BYTES)
        return _StreamReader(path)


class _StreamReader(WholeTensorReader):
    def __init__(self, path: Path) -> None:
        self.path = path
        self._unchanged = Unchanged(path)
        self._library: Any = require("runai_model_streamer", "storage")

    @cached_property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Name to shape and dtype, by the safetensors library: the streamer does not give them."""
        with SafetensorsReader(self.path, "mmap") as reader:
            specs = dict(reader.specs)
        self._unchanged.check()
        return specs

    def read(self, names: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
        """Stream the named tensors, which belong to the caller."""
        self.check_open()
        if names is not None and not names:
            return {}
        with corrupt_file_errors(self.path), self._library.SafetensorsStreamer() as streamer:
            try:
                streamer.stream_file(str(self.path), tensor_names=names, owned=True)
            except ValueError:
                # Either a name is missing or the file is damaged: this tells which.
                self.check_names(names or [])
                raise
            streamed = dict(streamer.get_tensors())
        self._unchanged.check()
        return streamed if names is None else {name: streamed[name] for name in names}

    def close(self) -> None:
        self.closed = True
