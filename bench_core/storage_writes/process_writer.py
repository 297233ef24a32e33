"""A process that writes what its parent put into shared memory, with an interpreter of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench_core import formats
from bench_core.formats import Durability, TensorSpec, WriteResult
from bench_core.storage_writes.child import Channel, Child
from bench_core.storage_writes.staging import SharedStaging, Slot, map_shared


class ProcessWriter:
    """The parent's side: one process, started at once and kept, for one thread to talk to.

    Args:
        stagings: the memories that `write` will be given.
        format: a name in `bench_core.formats.names`.
        durability: of each write.
    """

    def __init__(
        self, stagings: Sequence[SharedStaging], format: str, durability: Durability
    ) -> None:
        descriptors = tuple(staging.descriptor for staging in stagings)
        self._child = Child("bench_core.storage_writes.process_writer", pass_fds=descriptors)
        self._how = {"format": format, "durability": durability.value}

    def write(self, staging: SharedStaging, path: Path) -> WriteResult:
        """Write the staging's last copy.

        Raises:
            SaveError: the write failed, or the process died.
        """
        slots = {
            name: (slot.offset, slot.spec.shape, str(slot.spec.dtype).removeprefix("torch."))
            for name, slot in staging.slots.items()
        }
        request = {
            "path": str(path.absolute()),
            "descriptor": staging.descriptor,
            "nbytes": staging.nbytes,
            "slots": slots,
        }
        self._child.send(request | self._how)
        answer = self._child.receive()
        return WriteResult(**answer | {"path": path})

    def close(self) -> None:
        """Let the process end and wait for it."""
        self._child.close()


def main(_started_ns: int) -> None:
    """Write what is asked for until there are no more requests."""
    channel = Channel()
    while (request := channel.receive()) is not None:
        try:
            result = _write(request)
            channel.send(dataclasses.asdict(result) | {"path": str(result.path)})
        except Exception as error:  # the parent raises it where the save is waited for
            channel.fail(error)


def _write(request: dict[str, Any]) -> WriteResult:
    memory = map_shared(request["descriptor"], request["nbytes"])
    tensors = {
        name: Slot(offset, TensorSpec(tuple(shape), getattr(torch, dtype))).view(memory)
        for name, (offset, shape, dtype) in request["slots"].items()
    }
    format_ = formats.get(request["format"])
    return format_.write(tensors, Path(request["path"]), Durability(request["durability"]))
