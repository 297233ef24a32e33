"""The process that a model is handed to: it takes it, says when every byte has come, and checks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

Shapes = Mapping[str, tuple[int, ...]]
"""Of the tensors of a model, all float32, in the order in which they are sent."""


Taken = tuple[dict[str, "torch.Tensor"], Callable[[], None]]
"""The tensors, and what lets go of where they lie."""


class Model(NamedTuple):
    """What the producer says before it saves: how the model comes, and what it consists of."""

    way: str
    shapes: Shapes
    where: str
    """The file, the segment's name, or nothing."""
    format: str = ""
    """Of the file."""


def consume(commands: Connection, pipe: Connection, socket: Connection) -> None:
    """Take one model after the other until None comes.

    For each: answer when it can come, take it, answer with the time at which it was there
    (nanoseconds of the clock that all processes of the machine share), and with a digest.
    """
    from bench_core.models.digests import tensors_digest

    streams = {"pipe": pipe, "socket": socket}
    while (model := commands.recv()) is not None:
        take = _prepared(model, streams)
        commands.send("ready")
        if model.way not in streams:
            commands.recv()
        found, close = take()
        commands.send(time.perf_counter_ns())
        commands.send(tensors_digest(found))
        del found
        close()


def segment_views(segment: SharedMemory, shapes: Shapes) -> dict[str, torch.Tensor]:
    """Return the tensors of a model that lie one after the other in a segment."""
    import torch

    views, begin = {}, 0
    for name, shape in shapes.items():
        count = math.prod(shape)
        flat = torch.frombuffer(segment.buf, dtype=torch.float32, count=count, offset=begin)
        views[name] = flat.view(shape)
        begin += count * flat.element_size()
    return views


def byte_view(tensor: torch.Tensor) -> memoryview:
    """Return the bytes of a contiguous tensor, not copied."""
    values: Any = tensor.view(-1).numpy()
    return memoryview(values).cast("B")


def _prepared(model: Model, streams: Mapping[str, Connection]) -> Callable[[], Taken]:
    """Return what takes a model, with all libraries imported and memory made that it fills."""
    import torch

    from benchmarks.support.loaders import loader

    if model.way in streams:
        places = {name: torch.ones(shape) for name, shape in model.shapes.items()}
        return lambda: _from_stream(streams[model.way], places)
    if model.way == "shared_memory":
        return lambda: _from_memory(model)
    found = loader(model.format)
    return lambda: (found.load(Path(model.where)), _nothing)


def _from_stream(stream: Connection, places: dict[str, torch.Tensor]) -> Taken:
    for tensor in places.values():
        stream.recv_bytes_into(byte_view(tensor))
    return places, _nothing


def _from_memory(model: Model) -> Taken:
    from benchmarks.support.loaders import read_through

    segment = SharedMemory(model.where)
    found = segment_views(segment, model.shapes)
    read_through(found)
    return found, segment.close


def _nothing() -> None:
    """Close nothing: no segment was opened."""
