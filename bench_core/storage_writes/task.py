"""One task of a parallel write, in a process of its own: set up, write, verify, as it is told."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from bench_core import formats, models
from bench_core.storage_writes.child import Channel
from bench_core.storage_writes.staging import synchronize
from bench_core.storage_writes.to_memory import MemoryTarget, Sync, memory_target
from bench_core.storage_writes.whole import each_tensor_paths, save, save_each_tensor


def main(started_ns: int) -> None:
    """Answer the requests ``set up``, ``write`` and ``verify``, in this order."""
    channel = Channel()
    message = channel.receive()
    if message is None:
        return
    try:
        task = Task(TaskRequest(**message), {"started": started_ns})
        channel.send({"stamps": task.stamps})
        for step in (task.write, task.verify):
            if channel.receive() is None:
                return
            channel.send(step())
    except Exception as error:  # whatever it is, the parent makes a row of it
        channel.fail(error)


@dataclass(frozen=True)
class TaskRequest:
    """What a task has to do; every field travels as JSON."""

    target: str
    memory: str
    format: str
    sync: str
    durability: str
    seed: int
    device: str = "cpu"
    path: str = ""
    """A file; with ``sync="each_tensor"`` a folder that exists."""
    specs: Mapping[str, tuple[Sequence[int], str]] = field(default_factory=dict)
    """Name to shape and dtype (``"float32"``) of the tensors to write."""


class Task:
    """The model of one task, and what is done with it.

    ``stamps`` are `time.perf_counter_ns`, which the processes of a host share.
    """

    def __init__(self, request: TaskRequest, stamps: dict[str, int]) -> None:
        self.stamps = stamps
        self._request = request
        self._path = Path(request.path)
        self._in_memory: MemoryTarget | None = None
        if request.target == "memory":
            self._in_memory = memory_target(request.memory)
        else:
            formats.get(request.format).check_available()  # imports the library behind it
        self._stamp("imported")
        device = torch.device(request.device)
        synchronize({"": torch.zeros(1, device=device)})
        self._stamp("context")
        specs = {
            name: models.TensorShape(tuple(shape), getattr(torch, dtype))
            for name, (shape, dtype) in request.specs.items()
        }
        built = models.random_tensors(specs, request.seed)
        self.tensors = {name: tensor.to(device) for name, tensor in built.items()}
        if self._in_memory is not None:
            self._in_memory.prepare(self.tensors)
        synchronize(self.tensors)
        self._stamp("built")

    def write(self) -> dict[str, Any]:
        """Write the model, and return stamps and bytes."""
        self._stamp("begin")
        if self._in_memory is not None:
            sync = "end" if self._request.sync == "each_task" else self._request.sync
            self._in_memory.copy(self.tensors, cast(Sync, sync))
            self._stamp("return")
            self.stamps["durable"] = self.stamps["return"]
            nbytes = sum(tensor.nbytes for tensor in self.tensors.values())
            return {"stamps": self.stamps, "bytes_logical": nbytes, "bytes_physical": nbytes}
        write = save_each_tensor if self._request.sync == "each_tensor" else save
        result = write(
            self.tensors,
            self._path,
            durability=self._request.durability,
            format=self._request.format,
        )
        self.stamps["return"] = self.stamps["begin"] + result.return_ns
        self.stamps["durable"] = self.stamps["begin"] + result.durable_ns
        return {
            "stamps": self.stamps,
            "bytes_logical": result.bytes_logical,
            "bytes_physical": result.bytes_physical,
        }

    def verify(self) -> dict[str, Any]:
        """Read back what was written, and return the names of tensors that differ."""
        synchronize(self.tensors)  # with ``sync="none"`` a copy may still be under way
        stored = self._stored()
        wrong = [
            name
            for name, tensor in self.tensors.items()
            if name not in stored or not models.equal_bytes(tensor, stored[name])
        ]
        return {"wrong": wrong}

    def _stored(self) -> dict[str, torch.Tensor]:
        if self._in_memory is not None:
            return self._in_memory.stored()
        reader = formats.get(self._request.format)
        paths = {self._path}
        if self._request.sync == "each_tensor":
            paths = set(each_tensor_paths(self.tensors, self._path, self._request.format).values())
        stored: dict[str, torch.Tensor] = {}
        for path in paths:
            with reader.open(path) as file:
                stored.update(file.read())
        return stored

    def _stamp(self, name: str) -> None:
        self.stamps[name] = time.perf_counter_ns()
