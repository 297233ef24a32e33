"""Writing a model to memory, in several ways: the lower bound of every write to storage."""

from __future__ import annotations

import io
import tempfile
from abc import ABC, abstractmethod
from typing import ClassVar, Final, Literal

import torch

from bench_core.errors import SaveError, UnknownNameError, UnsupportedError, nearest
from bench_core.formats import Tensors
from bench_core.storage_writes.staging import (
    SHARED_MEMORY,
    Slot,
    Staging,
    end_of,
    map_shared,
    plan,
    synchronize,
)

Sync = Literal["none", "end", "each_tensor"]


class MemoryTarget(ABC):
    """One way to copy a set of tensors to memory; it keeps the copy until the next, or `close`."""

    on_cpu: ClassVar[str]
    """What the copy of CPU tensors is: some memcpy, never a transfer from a device."""
    on_cuda: ClassVar[str]
    """What the copy of CUDA tensors is."""

    def label(self, tensors: Tensors) -> str:
        """Return what copying these tensors is, for tables and figures."""
        is_cuda = any(tensor.is_cuda for tensor in tensors.values())
        return self.on_cuda if is_cuda else self.on_cpu

    def prepare(self, tensors: Tensors) -> None:  # noqa: B027, most have nothing to do
        """Do once what `copy` of such tensors can then do without: get memory that is reused."""

    @abstractmethod
    def copy(self, tensors: Tensors, sync: Sync = "end") -> None:
        """Copy the tensors.

        Args:
            tensors: on any device.
            sync: when the device is synchronised. With ``none`` the call may return before
                CUDA tensors have arrived, and the copy must not be read.

        Raises:
            UnsupportedError: this way does not exist for tensors on their device.
            SaveError: the memory ran out (``shared``).
        """

    @abstractmethod
    def stored(self) -> dict[str, torch.Tensor]:
        """Return what the last `copy` stored."""

    @abstractmethod
    def close(self) -> None:
        """Give the memory back."""


class _PerTensor(MemoryTarget):
    """Copies that are tensors, each in memory of its own."""

    def __init__(self) -> None:
        self._copies: dict[str, torch.Tensor] = {}

    def copy(self, tensors: Tensors, sync: Sync = "end") -> None:
        self._copies = {}
        for name, tensor in tensors.items():
            self._copies[name] = self._copy_one(tensor.detach())
            if sync == "each_tensor":
                synchronize({name: tensor})
        if sync != "none":
            synchronize(tensors)

    @abstractmethod
    def _copy_one(self, tensor: torch.Tensor) -> torch.Tensor: ...

    def stored(self) -> dict[str, torch.Tensor]:
        return dict(self._copies)

    def close(self) -> None:
        self._copies = {}


class _Pageable(_PerTensor):
    """``.to("cpu")`` tensor by tensor, into fresh memory."""

    on_cpu = "memcpy, fresh memory"
    on_cuda = "device to host, pageable"

    def _copy_one(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to("cpu", copy=True)  # without `copy` a CPU tensor would be itself


class _Pinned(_PerTensor):
    """Non-blocking copies to pinned memory, made for this copy, and one synchronisation.

    torch keeps pinned memory that was freed, so that only a process's first copy pays for pinning.
    """

    on_cpu = "none: nothing is pinned without a device"
    on_cuda = "device to host, pinned"

    def copy(self, tensors: Tensors, sync: Sync = "end") -> None:
        if not all(tensor.is_cuda for tensor in tensors.values()):
            raise UnsupportedError(
                "pinned memory speeds up copies from a CUDA device, and these tensors are on the "
                "CPU; use 'pageable' or 'arena'"
            )
        super().copy(tensors, sync)

    def _copy_one(self, tensor: torch.Tensor) -> torch.Tensor:
        pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return pinned.copy_(tensor, non_blocking=True)


class _Clone(_PerTensor):
    """``clone()`` on the tensors' own device."""

    on_cpu = "memcpy, fresh memory (clone)"
    on_cuda = "device to device (clone)"

    def _copy_one(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.clone(memory_format=torch.contiguous_format)


class _Arena(MemoryTarget):
    """One piece of memory that is kept from copy to copy, pinned for CUDA tensors."""

    on_cpu = "memcpy, reused memory"
    on_cuda = "device to host, reused pinned memory"

    def __init__(self) -> None:
        self._staging = Staging()

    def prepare(self, tensors: Tensors) -> None:
        self._staging.copy(tensors)

    def copy(self, tensors: Tensors, sync: Sync = "end") -> None:
        self._staging.copy(tensors, sync)

    def stored(self) -> dict[str, torch.Tensor]:
        return self._staging.tensors()

    def close(self) -> None:
        self._staging.close()


class _BytesIo(MemoryTarget):
    """`torch.save` to an `io.BytesIO`, which serialises too; its copies are never asynchronous."""

    on_cpu = "torch.save, fresh memory"
    on_cuda = "device to host and torch.save, fresh memory"

    def __init__(self) -> None:
        self._buffer = io.BytesIO()

    def copy(self, tensors: Tensors, sync: Sync = "end") -> None:
        self._buffer = io.BytesIO()
        torch.save(dict(tensors), self._buffer)

    def stored(self) -> dict[str, torch.Tensor]:
        self._buffer.seek(0)
        loaded: dict[str, torch.Tensor] = torch.load(self._buffer, map_location="cpu")
        return loaded

    def close(self) -> None:
        self._buffer = io.BytesIO()


class _SharedMemory(MemoryTarget):
    """A file without a name in ``/dev/shm``, written new for each copy."""

    on_cpu = "memcpy by the kernel to /dev/shm"
    on_cuda = "device to host, then memcpy by the kernel to /dev/shm"

    def __init__(self) -> None:
        if not SHARED_MEMORY.is_dir():
            raise UnsupportedError(f"no {SHARED_MEMORY} on this system; use 'pageable' or 'arena'")
        self._file = tempfile.TemporaryFile(dir=SHARED_MEMORY)  # noqa: SIM115, `close` closes it
        self._slots: dict[str, Slot] = {}

    def copy(self, tensors: Tensors, sync: Sync = "end") -> None:
        self._slots = plan(tensors)
        try:
            self._file.seek(0)
            self._file.truncate()
            for name, tensor in tensors.items():
                # `cpu` waits for the tensor: there is nothing left to synchronise.
                flat = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
                self._file.seek(self._slots[name].offset)
                self._file.write(flat.numpy().data)
            self._file.flush()
        except OSError as error:
            raise SaveError(
                f"{SHARED_MEMORY}: cannot hold {end_of(self._slots)} bytes more "
                f"({error.strerror}); free some, or mount it larger"
            ) from error

    def stored(self) -> dict[str, torch.Tensor]:
        memory = map_shared(self._file.fileno(), end_of(self._slots))
        return {name: slot.view(memory) for name, slot in self._slots.items()}

    def close(self) -> None:
        self._file.close()


_TARGETS: Final[dict[str, type[MemoryTarget]]] = {
    "pageable": _Pageable,
    "pinned": _Pinned,
    "arena": _Arena,
    "clone": _Clone,
    "bytesio": _BytesIo,
    "shared": _SharedMemory,
}


def memory_targets() -> list[str]:
    """Return the names of all ways to copy to memory; ``pinned`` needs a CUDA device."""
    return list(_TARGETS)


def memory_target(name: str) -> MemoryTarget:
    """Return a new target of this name, holding nothing yet.

    Raises:
        UnknownNameError: there is none of this name.
        UnsupportedError: this system does not have it.

    Example:
        >>> import torch
        >>> from bench_core.storage_writes import memory_target
        >>> target = memory_target("arena")
        >>> target.copy({"weight": torch.ones(2)})
        >>> target.stored()
        {'weight': tensor([1., 1.])}
    """
    if name not in _TARGETS:
        raise UnknownNameError(
            f"unknown memory target {name!r}; expected one of {', '.join(_TARGETS)}"
            f"{nearest(name, _TARGETS)}"
        )
    return _TARGETS[name]()
