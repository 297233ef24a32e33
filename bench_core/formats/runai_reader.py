"""Run:ai Model Streamer: reads safetensors files by concurrent requests, here to the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from bench_core.formats.base import Reader, TensorSpec
from bench_core.formats.reading import Unchanged, WholeTensorReader, corrupt_file_errors
from bench_core.formats.safetensors_file import SafetensorsByOthers, SafetensorsReader
from bench_core.optional import require


class RunaiStreamer(SafetensorsByOthers):
    """``SafetensorsStreamer`` with its own choice of threads, io_uring and direct I/O."""

    name: ClassVar[str] = "runai"
    library: ClassVar[str | None] = "runai_model_streamer"

    def open_reader(self, path: Path) -> Reader:
        """Parse nothing yet: the library does so at each read."""
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
