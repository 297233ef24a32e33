"""Loading tensors by name: into fresh memory, into tensors that exist, to the host or a device."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from bench_core.formats.base import Reader, Tensors
from bench_core.formats.direct.reader import PositionedReader, SafetensorsReader
from bench_core.layer_loading.destinations import destinations, match
from bench_core.layer_loading.policies import open_reader
from bench_core.layer_loading.to_device import stream_into


@dataclass(frozen=True)
class LoadResult:
    """What one load did; its three durations follow each other and add up to the call."""

    path: Path
    policy: str
    """How it was read: what ``auto`` chose, or the format's name where it is not safetensors."""
    n_tensors: int
    bytes_requested: int
    """Sum of the tensors' bytes."""
    open_ns: int
    """Until the file was open and its header checked."""
    host_ns: int
    """Until the last byte was in host memory; for ``mmap`` until it was mapped, nothing read."""
    device_ns: int
    """Until all was on the device; on a CPU next to nothing."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What a safetensors file says beside its tensors."""


def load(
    path: Path | str,
    names: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
    *,
    policy: str = "auto",
) -> dict[str, torch.Tensor]:
    """Return the named tensors of a file, or all of them.

    Of a safetensors file only what is asked for is read. Files of another format in
    `bench_core.formats` are known by their suffix and read by that format.

    Memory: the tensors and the arena (16 MiB, `release_arenas` gives it back); to a device 32 MiB
    of staging in its place.

    Args:
        path: a file; without a known suffix it is taken for safetensors.
        names: which tensors; None for all.
        device: where to.
        policy: ``auto`` looks at what is in the page cache: what is cold is read past it
            (``direct``), what is warm is mapped (``mmap``: read when touched, changes stay
            private) or, where that is not possible, copied (``pread``); to a device it is
            ``streamed``. ``direct``, ``mmap``, ``populate`` (mapped, and read at once: the file
            stays in the page cache, and the processor has least to do), ``pread``, ``streamed``.

    Returns:
        The tensors, in the order of ``names`` or of the file.

    Raises:
        FileNotFoundError: there is no such file.
        TensorNotFoundError: a name is not in the file (the nearest name is suggested).
        CorruptFileError: the file is truncated or contradicts itself.
        UnknownNameError: there is no such policy.
        UnsupportedError: ``direct`` where there is no direct I/O; a policy for another format.
        OSError: the device failed; ``mmap`` or ``populate``, and the file cannot be mapped.

    Example:
        >>> from bench_core.layer_loading import load
        >>> tensors = load("linear.safetensors", ["weight"])
        >>> tensors["weight"].shape
        torch.Size([1000, 1000])
    """
    return load_timed(path, names, device, policy=policy)[0]


def load_timed(
    path: Path | str,
    names: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
    *,
    policy: str = "auto",
) -> tuple[dict[str, torch.Tensor], LoadResult]:
    """Do as `load`, and return also how it was done and how long each part took."""
    path, device = Path(path), torch.device(device)
    started = time.perf_counter_ns()
    reader, used = open_reader(path, names, policy, lazy=True, on_host=device.type == "cpu")
    with reader:
        opened = time.perf_counter_ns()
        if used == "streamed" and isinstance(reader, PositionedReader):
            tensors = _unfilled(reader, names, device)
            on_host = stream_into(reader, tensors)
        else:
            tensors = reader.read(names)
            on_host = time.perf_counter_ns()
            if device.type != "cpu":
                tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    return tensors, _result(reader, path, used, tensors, started, opened, on_host)


def load_into(
    module_or_tensors: nn.Module | Tensors,
    path: Path | str,
    names: Sequence[str] | None = None,
    *,
    policy: str = "auto",
    strict: bool = True,
) -> LoadResult:
    """Fill tensors that exist from a file's tensors of the same names.

    Nothing is allocated, which also saves time where fresh memory is dear (virtual machines):
    memory in use is the arena, 16 MiB, or 32 MiB of staging for tensors on a device.

    Args:
        module_or_tensors: a module (parameters and persistent buffers; tied ones are filled once),
            or a mapping of names to tensors.
        path: as for `load`.
        names: which to fill; None for all.
        policy: as for `load`; ``auto`` takes ``pread`` in the place of ``mmap``.
        strict: file and destinations must hold the same names (with ``names``: both must hold
            those). If not, what both hold is loaded. Shapes and types must agree in any case.

    Raises:
        TensorNotFoundError: a name that the file or the destinations have not.
        TensorMismatchError: a shape or type differs; strict, and the file holds more.
        Otherwise as `load`; after an error some destinations may be filled.

    Example:
        >>> import torch
        >>> from bench_core.layer_loading import load_into
        >>> model = torch.nn.Linear(1000, 1000)
        >>> load_into(model, "linear.safetensors").n_tensors
        2
    """
    path = Path(path)
    started = time.perf_counter_ns()
    tensors = destinations(module_or_tensors)
    on_cpu = all(tensor.device.type == "cpu" for tensor in tensors.values())
    likely = list(tensors) if names is None else names
    reader, used = open_reader(path, likely, policy, lazy=False, on_host=on_cpu)
    with reader:
        opened = time.perf_counter_ns()
        filled = match(tensors, reader.specs, names, strict=strict, path=path)
        if used == "streamed" and isinstance(reader, PositionedReader):
            reader.check_destinations(filled)
            on_host = stream_into(reader, filled)
        else:
            reader.read_into(filled)
            on_host = time.perf_counter_ns()
    return _result(reader, path, used, filled, started, opened, on_host)


def _unfilled(
    reader: Reader, names: Sequence[str] | None, device: torch.device
) -> dict[str, torch.Tensor]:
    wanted = list(reader.specs) if names is None else list(dict.fromkeys(names))
    reader.check_names(wanted)
    specs = {name: reader.specs[name] for name in wanted}
    return {n: torch.empty(s.shape, dtype=s.dtype, device=device) for n, s in specs.items()}


def _result(
    reader: Reader,
    path: Path,
    policy: str,
    tensors: Tensors,
    started: int,
    opened: int,
    on_host: int,
) -> LoadResult:
    done = time.perf_counter_ns()
    return LoadResult(
        path=path,
        policy=policy,
        n_tensors=len(tensors),
        bytes_requested=sum(tensor.nbytes for tensor in tensors.values()),
        open_ns=opened - started,
        host_ns=on_host - opened,
        device_ns=done - on_host,
        metadata=reader.header.metadata if isinstance(reader, SafetensorsReader) else {},
    )
