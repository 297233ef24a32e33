"""What the workloads share: contenders by name, seeded models, files of this process, the check."""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.benchmark import Benchmark, data_dir
from harness.cache import parse_state
from harness.errors import InputError, RefusedError, WrongResultError
from harness.records import Param
from harness.subprocesses import is_running

if TYPE_CHECKING:
    import torch

Tensors = Mapping[str, "torch.Tensor"]

WRITERS: Final = (
    "direct",
    "torch",
    "torch_no_crc",
    "safetensors",
    "hdf5",
    "npz",
    "lmdb",
    "dcp",
    "tensorstore",
    "redis",
)
"""Every format with a writer of its own. Written out, not looked up: asv must find the same cases
at every commit. A test holds it against `bench_core.formats`."""

READERS: Final = (
    "auto",
    "direct",
    "torch",
    "torch_mmap",
    "safetensors",
    "safetensors_pread",
    "fastsafetensors",
    "runai",
    "hdf5",
    "npz",
    "lmdb",
    "dcp",
    "tensorstore",
    "redis",
)
"""Every format that reads in a way of its own, and `auto`: see `benchmarks.support.loaders`."""

COLD: Final = ("cold_file", "cold_host")

POSITIONS: Final = {"first": 0.0, "middle": 0.5, "last": 1.0}
"""Where a tensor stands among the others of its model, as a share of the way."""

_POISON: Final = 0xA5


class ModelBenchmark(Benchmark):
    """Base of the workloads: seeded models in memory, and an exact comparison after the clock."""

    open_params = ("cache", "durability", "format", "model", "position", "selector")

    nbytes: int | None = None
    """Bytes that the operation has to move; `prepare` sets it."""

    @classmethod
    def check_param(cls, name: str, value: Param) -> None:
        """Raise where an experiment gives an open parameter a name that means nothing.

        Raises:
            InputError: there is no such thing; the text lists what there is.
        """
        from bench_core.errors import UnknownNameError

        try:
            _CHECKS[name](str(value))
        except UnknownNameError as error:
            raise InputError(str(error)) from error

    @classmethod
    def planned_bytes(cls, **params: Param) -> int | None:
        """Return the bytes of the whole model that the parameter ``model`` names."""
        return sum(tensor_bytes(str(params["model"])).values()) if "model" in params else None

    def reference(self, model: str, seed: int | None = None) -> dict[str, torch.Tensor]:
        """Return the model's tensors, made once a process: what is written and must come back.

        Args:
            model: its name.
            seed: of its values; None for the sample's own.
        """
        from bench_core import models

        seed = self.seed if seed is None else seed
        return self.cached(("reference", model, seed), lambda: models.tensors(model, seed))

    def needed_bytes(self) -> int | None:
        """Return the logical bytes of the tensors that are written or read."""
        return self.nbytes


@functools.cache
def tensor_bytes(model: str) -> Mapping[str, int]:
    """Return the bytes of each tensor of a model, in its order, before anything is built."""
    from bench_core import models

    return {name: spec.nbytes for name, spec in models.specs(model).items()}


def bytes_of(tensors: Tensors) -> int:
    """Return the sum of the tensors' bytes."""
    return sum(tensor.nbytes for tensor in tensors.values())


def require_equal(found: Tensors, expected: Tensors) -> None:
    """Compare names, types, shapes and every bit.

    Raises:
        WrongResultError: something differs; the text says what.
    """
    from bench_core import models

    if found.keys() != expected.keys():
        differing = sorted(found.keys() ^ expected.keys())
        raise WrongResultError(f"{len(differing)} names differ, the first is {differing[0]!r}")
    wrong = [name for name in expected if not models.equal_bytes(found[name], expected[name])]
    if wrong:
        raise WrongResultError(f"{len(wrong)} tensors differ, the first is {wrong[0]!r}")


def poison(tensors: Tensors) -> None:
    """Overwrite tensors, so that the right values can only come from the operation.

    This also touches their pages: they exist in every sense when the clock starts.
    """
    import torch

    for tensor in tensors.values():
        tensor.view(-1).view(torch.uint8).fill_(_POISON)


def return_free_memory() -> None:
    """Give memory that was freed back to the kernel, where the C library can (glibc).

    Otherwise "fresh" tensors would lie in pages that an earlier sample had touched, and what is
    measured would depend on who ran before.
    """
    if sys.platform == "linux":
        trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def require_cuda() -> None:
    """Refuse a case that means nothing without a CUDA device.

    Raises:
        RefusedError: there is none.
    """
    import torch

    if not torch.cuda.is_available():
        raise RefusedError("no CUDA device is available to torch here")


def process_folder() -> Path:
    """Return a folder of this process below the data folder; it goes when the process ends."""
    return _process_folder(data_dir() / "processes", os.getpid())


@functools.cache
def _process_folder(parent: Path, pid: int) -> Path:
    parent.mkdir(exist_ok=True)
    host = socket.gethostname()
    for folder in parent.glob(f"{host}-*"):
        if not is_running(int(folder.name.removeprefix(f"{host}-"))):
            shutil.rmtree(folder, ignore_errors=True)
    own = parent / f"{host}-{pid}"
    own.mkdir(exist_ok=True)
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def _check_model(name: str) -> None:
    from bench_core import models

    if name not in models.names():
        models.specs(name)


def _check_format(name: str) -> None:
    from bench_core import formats

    if name not in READERS:
        formats.get(name)


def _check_durability(name: str) -> None:
    from bench_core.storage_writes.whole import durability_of

    durability_of(name)


def _check_selector(name: str) -> None:
    from bench_core.layer_loading import select

    select({}, name)


def _check_position(name: str) -> None:
    if name not in POSITIONS:
        raise InputError(f"unknown position {name!r}; expected one of {', '.join(POSITIONS)}")


_CHECKS: Final[Mapping[str, Callable[[str], object]]] = {
    "cache": parse_state,
    "durability": _check_durability,
    "format": _check_format,
    "model": _check_model,
    "position": _check_position,
    "selector": _check_selector,
}
