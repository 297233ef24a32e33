"""fastsafetensors: reads safetensors files with several threads and direct I/O, here to the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import torch

from bench_core.errors import UnsupportedError
from bench_core.formats.base import Reader, TensorSpec
from bench_core.formats.dtypes import DTYPES
from bench_core.formats.reading import Unchanged, WholeTensorReader, corrupt_file_errors
from bench_core.formats.safetensors_file import SafetensorsByOthers
from bench_core.optional import require

_MOST_THREADS: Final = 16


class FastSafetensors(SafetensorsByOthers):
    """``SafeTensorsFileLoader`` without GPUDirect Storage, device ``cpu``."""

    name: ClassVar[str] = "fastsafetensors"
    library: ClassVar[str | None] = "fastsafetensors"

    def open_reader(self, path: Path) -> Reader:
        """Let the library parse the header."""
        return _FastReader(path)


class _FastReader(WholeTensorReader):
    def __init__(self, path: Path) -> None:
        self.path = path
        self._unchanged = Unchanged(path)
        library: Any = require("fastsafetensors", "storage")
        # More threads than twice the cores, or smaller bounce buffers, were slower.
        threads = min(_MOST_THREADS, 2 * (os.cpu_count() or 1))
        with corrupt_file_errors(path):
            self._loader = library.SafeTensorsFileLoader(
                None, device="cpu", nogds=True, max_threads=threads
            )
            self._loader.add_filenames({0: [str(path)]})
        self._specs = {name: self._spec(name, frame) for name, frame in self._loader.frames.items()}

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def read(self, names: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
        """Read the byte ranges of the named tensors; they share one allocation of the library."""
        self.check_open()
        self.check_names(names or [])
        wanted = list(self._specs) if names is None else list(names)
        if not wanted:
            return {}
        with corrupt_file_errors(self.path):
            self._loader.set_tensor_filter(None if names is None else set(wanted).__contains__)
            buffers = self._loader.copy_files_to_device()
            try:
                tensors = {name: buffers.get_tensor(name) for name in wanted}
            finally:
                buffers.close()
        self._unchanged.check()
        return tensors

    def close(self) -> None:
        if not self.closed:
            self._loader.close()
        self.closed = True

    def _spec(self, name: str, frame: Any) -> TensorSpec:
        if frame.dtype.value not in DTYPES:
            raise UnsupportedError(
                f"{self.path}: {name!r} is {frame.dtype.value}, a type that torch lacks"
            )
        return TensorSpec(tuple(frame.shape), DTYPES[frame.dtype.value])
