"""Save and load again: times, size, loads from cold and from warm, failures kept as rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import nn

from bench_core import formats, models
from bench_core.errors import CorruptFileError
from bench_core.formats import Durability, Format, Tensors
from bench_core.storage_writes.child import one_line
from bench_core.storage_writes.scratch import scratch_folder
from bench_core.storage_writes.whole import save, tensors_of

_READ_SIZE: Final = 8 * 2**20


@dataclass(frozen=True)
class RoundTrip:
    """One save and its loads, or why there are none."""

    format: str
    repetition: int
    status: str = "ok"
    """``ok``, or ``failed``: an error, or tensors that came back different."""
    reason: str | None = None
    bytes_logical: int = 0
    bytes_physical: int = 0
    return_ns: int | None = None
    durable_ns: int | None = None
    cold_load_ns: int | None = None
    """From opening the file to the last byte in memory; None where nothing made files cold."""
    warm_load_ns: int | None = None
    """The same with the file in the page cache."""


def save_load_roundtrip(
    module_or_tensors: nn.Module | Tensors,
    directory: Path,
    *,
    format: str = "direct",
    durability: Durability | str = Durability.FSYNC_DIR,
    repetitions: int = 1,
    adam: bool = False,
    make_cold: Callable[[list[Path]], None] | None = None,
) -> list[RoundTrip]:
    """Save, load cold, load warm, compare and remove; one row per repetition, whatever happens.

    Tensors of formats that map files are cloned within the load's time, so that all bytes have
    arrived. The comparison is not timed.

    Args:
        module_or_tensors: what to save.
        directory: where, in a folder of its own that is removed.
        format: a name in `bench_core.formats.names`.
        durability: of the save.
        repetitions: number of rows.
        adam: save an Adam optimizer's two moments beside each floating-point tensor: three
            times the bytes.
        make_cold: takes the files out of the page cache (and proves it, if it likes); without
            it nothing is loaded cold. What it raises is its row's reason.

    Raises:
        SaveError: ``directory`` cannot be written to.
        UnknownNameError: there is no such format.
    """
    format_ = formats.get(format)
    tensors = tensors_of(module_or_tensors)
    if adam:
        tensors = with_adam_state(tensors)
    rows = []
    for repetition in range(repetitions):
        with scratch_folder(directory) as folder:
            path = folder / f"model{format_.suffix}"
            try:
                row = _round_trip(tensors, path, format_, repetition, durability, make_cold)
            except Exception as error:  # whatever it is, it is this repetition's result
                row = RoundTrip(format, repetition, "failed", one_line(error))
            rows.append(row)
    return rows


def with_adam_state(tensors: Tensors, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return the tensors and, for each of floating point, random ``exp_avg`` and ``exp_avg_sq``."""
    moments = {
        f"optimizer.{moment}.{name}": models.TensorShape(tuple(tensor.shape), tensor.dtype)
        for moment in ("exp_avg", "exp_avg_sq")
        for name, tensor in tensors.items()
        if tensor.is_floating_point()
    }
    return dict(tensors) | models.random_tensors(moments, seed)


def _round_trip(
    tensors: Tensors,
    path: Path,
    format_: Format,
    repetition: int,
    durability: Durability | str,
    make_cold: Callable[[list[Path]], None] | None,
) -> RoundTrip:
    written = save(tensors, path, durability=durability, format=format_.name)
    files = format_.files(path)
    cold_ns = None
    if make_cold is not None:
        make_cold(files)
        cold_ns = _load(tensors, path, format_)
    _make_warm(files)
    return RoundTrip(
        format=format_.name,
        repetition=repetition,
        bytes_logical=written.bytes_logical,
        bytes_physical=written.bytes_physical,
        return_ns=written.return_ns,
        durable_ns=written.durable_ns,
        cold_load_ns=cold_ns,
        warm_load_ns=_load(tensors, path, format_),
    )


def _load(expected: Tensors, path: Path, format_: Format) -> int:
    """Load all tensors and return the time; raise unless they are the expected ones."""
    started_ns = time.perf_counter_ns()
    with format_.open(path) as reader:
        loaded = reader.read()
        if format_.is_lazy:
            loaded = {name: tensor.clone() for name, tensor in loaded.items()}
    loaded_ns = time.perf_counter_ns() - started_ns
    for name, tensor in expected.items():
        if name not in loaded or not models.equal_bytes(loaded[name], tensor):
            raise CorruptFileError(f"{path.name}: {name!r} came back different from what was saved")
    return loaded_ns


def _make_warm(files: list[Path]) -> None:
    """Read the files through the page cache: a load by direct I/O leaves nothing in it."""
    buffer = bytearray(_READ_SIZE)
    for file in files:
        with file.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass
