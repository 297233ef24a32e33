"""Host memory that tensors are copied into, kept between copies."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

import torch

from bench_core.errors import UnsupportedError
from bench_core.formats import Tensors, TensorSpec
from bench_core.formats.host_copy import copy_on_host, is_worth_threads

_ALIGNMENT: Final = 4096
"""Where tensors start: O_DIRECT can write from here without another copy."""

SHARED_MEMORY: Final = Path("/dev/shm")


@dataclass(frozen=True)
class Slot:
    """Where a tensor lies in a piece of memory."""

    offset: int
    spec: TensorSpec
    is_tied: bool = False
    """Another name has the same tensor, and its copy."""

    def view(self, memory: torch.Tensor) -> torch.Tensor:
        """Return the slot of a byte tensor as a tensor of the slot's shape and type."""
        flat = memory[self.offset : self.offset + self.spec.nbytes]
        return flat.view(self.spec.dtype).view(self.spec.shape)


class Staging:
    """Memory for the copy of one set of tensors, reused by the next copy.

    It has the size of the largest set so far, each tensor rounded up to 4 KiB. As soon as a CUDA
    tensor is copied it is pinned, and then torch rounds it up to a power of two.
    """

    can_pin: ClassVar[bool] = True

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)
        self.slots: dict[str, Slot] = {}
        """Where each tensor of the last copy lies."""

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._memory.nbytes

    def copy(
        self, tensors: Tensors, sync: Literal["none", "end", "each_tensor"] = "end"
    ) -> dict[str, torch.Tensor]:
        """Copy the tensors here; the contiguous CPU tensors returned are valid until the next copy.

        Names that share one tensor (tied weights) share its copy.

        Args:
            tensors: dense tensors on any device.
            sync: when their devices are synchronised: at the end, after every tensor (so that
                no two transfers overlap), or not at all: then CUDA tensors may not have arrived.

        Raises:
            UnsupportedError: a tensor is not dense, or has no data (meta).
        """
        self.slots = plan(tensors)
        self._reserve(end_of(self.slots), any(tensor.is_cuda for tensor in tensors.values()))
        copies = self.tensors()
        on_host = []
        for name, source in tensors.items():
            if self.slots[name].is_tied:
                continue
            if is_worth_threads(source):
                on_host.append((copies[name], source.detach()))
                continue
            copies[name].copy_(source.detach(), non_blocking=source.is_cuda)
            if sync == "each_tensor":
                synchronize({name: source})
        copy_on_host(on_host)
        if sync != "none":
            synchronize(tensors)
        return copies

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the last copy."""
        return {name: slot.view(self._memory) for name, slot in self.slots.items()}

    def close(self) -> None:
        """Give the memory back; tensors of the last copy keep it until they are gone."""
        self.slots = {}
        self._memory = torch.empty(0, dtype=torch.uint8)

    def _reserve(self, nbytes: int, pinned: bool) -> None:
        must_pin = pinned and self.can_pin and not self._memory.is_pinned()
        if nbytes > self.nbytes or must_pin:
            self._memory = torch.empty(0, dtype=torch.uint8)  # never both the old and the new
            self._memory = self._allocate(nbytes, pinned)

    def _allocate(self, nbytes: int, pinned: bool) -> torch.Tensor:
        return torch.empty(nbytes, dtype=torch.uint8, pin_memory=pinned)


class SharedStaging(Staging):
    """Staging that another process can map: a file without a name in ``/dev/shm``, never pinned.

    Nothing remains of it when the processes that hold it are gone, however they ended.

    Raises:
        UnsupportedError: there is no ``/dev/shm``.
    """

    can_pin = False

    def __init__(self) -> None:
        if not SHARED_MEMORY.is_dir():
            raise UnsupportedError(
                f"no {SHARED_MEMORY} here: a writing process shares memory through it (Linux only)"
            )
        super().__init__()
        self._file = tempfile.TemporaryFile(dir=SHARED_MEMORY)  # noqa: SIM115, `close` closes it

    @property
    def descriptor(self) -> int:
        """The file's descriptor, for the other process."""
        return self._file.fileno()

    def close(self) -> None:
        """Give memory and file back."""
        super().close()
        self._file.close()

    def _allocate(self, nbytes: int, pinned: bool) -> torch.Tensor:
        # Allocated rather than only sized: a full /dev/shm is an error now, not a SIGBUS later.
        os.posix_fallocate(self.descriptor, 0, nbytes)
        return map_shared(self.descriptor, nbytes)


def map_shared(descriptor: int, nbytes: int) -> torch.Tensor:
    """Return a file's first bytes as a tensor that it shares with every process that maps them."""
    if nbytes == 0:  # no map can be empty
        return torch.empty(0, dtype=torch.uint8)
    return torch.frombuffer(mmap.mmap(descriptor, nbytes), dtype=torch.uint8)


def plan(tensors: Tensors) -> dict[str, Slot]:
    """Return where each tensor goes in one piece of memory.

    Raises:
        UnsupportedError: a tensor is not dense, or has no data (meta).
    """
    slots: dict[str, Slot] = {}
    at_address: dict[int, str] = {}
    end = 0
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_meta:
            kind = "meta" if tensor.is_meta else str(tensor.layout)
            raise UnsupportedError(f"{name}: a {kind} tensor cannot be saved; give a dense one")
        spec = TensorSpec(tuple(tensor.shape), tensor.dtype)
        first = at_address.setdefault(tensor.data_ptr(), name)
        if first != name and _are_tied(tensors[first], tensor):
            slots[name] = Slot(slots[first].offset, spec, is_tied=True)
            continue
        slots[name] = Slot(end, spec)
        end += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
    return slots


def _are_tied(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors at one address are the same tensor."""
    return (
        a.nbytes > 0
        and (a.device, a.dtype) == (b.device, b.dtype)
        and (a.shape, a.stride()) == (b.shape, b.stride())
        and (a.is_neg(), a.is_conj()) == (b.is_neg(), b.is_conj())
    )


def end_of(slots: Mapping[str, Slot]) -> int:
    """Return the bytes of memory that the slots need."""
    return max((slot.offset + slot.spec.nbytes for slot in slots.values()), default=0)


def synchronize(tensors: Tensors) -> None:
    """Wait for every CUDA device that one of the tensors lives on."""
    for device in {tensor.device for tensor in tensors.values() if tensor.is_cuda}:
        torch.cuda.synchronize(device)
