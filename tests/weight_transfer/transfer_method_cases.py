"""All transfer methods, values for their models, and processes that die at a given step."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from layer_store_cases import redis_address

from bench_core.formats import TensorSpec
from bench_core.models.chains import BlockSpec
from bench_core.weight_transfer import ArchitectureGraph, Layer, layers, sequential
from bench_core.weight_transfer.methods import TransferMethod, open_method


def redis_scan(folder: Path, format: str = "safetensors") -> TransferMethod:
    """Under a prefix that is the folder's, in a server that all tests share."""
    return open_method("redis_scan", folder, [f"{redis_address()}#{folder}"], format)


METHODS: dict[str, Callable[[Path], TransferMethod]] = {
    "noop": lambda folder: open_method("noop"),
    "file": lambda folder: open_method("file", folder),
    "file hdf5": lambda folder: open_method("file", folder, format="hdf5"),
    "file direct": lambda folder: open_method("file", folder, format="direct"),
    "file_search": lambda folder: open_method("file_search", folder),
    "redis_scan": redis_scan,
    "store memory": lambda folder: open_method("store", engine="memory"),
    "store files": lambda folder: open_method("store", folder, engine="files"),
    "store lmdb": lambda folder: open_method("store", folder, engine="lmdb"),
    "store redis": lambda folder: open_method("store", servers=[f"{redis_address()}#{folder}"]),
}
KEEPING = [name for name in METHODS if name != "noop"]
"""Those that keep models at all."""
LASTING = [name for name in KEEPING if name != "store memory"]
"""Those whose models other processes see."""
SEARCHING = [name for name in KEEPING if not name.startswith("file") or name == "file_search"]
"""Those that find the donor without a hint."""


def mixed() -> ArchitectureGraph:
    """Layers with buffers, of bfloat16, with a scalar and an empty tensor, and without tensors."""
    odd = (
        ("half", TensorSpec((3, 5), torch.bfloat16)),
        ("count", TensorSpec((), torch.int64)),
        ("none", TensorSpec((0, 4), torch.float32)),
    )
    return sequential(
        [
            layers.dense((8,), 16),
            layers.batch_norm((16,)),
            layers.activation((16,), "relu"),
            Layer(BlockSpec.of("test.odd"), odd),
            layers.dense((16,), 4),
        ]
    )


def values(
    graph: ArchitectureGraph, seed: int, without: Collection[int] = ()
) -> dict[str, torch.Tensor]:
    """Seeded values of all tensors but those of some layers."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (torch.rand(spec.shape, generator=generator) * 100).to(spec.dtype)
        for name, spec in graph.tensors().items()
        if int(name.partition(".")[0]) not in without
    }


def zeros(graph: ArchitectureGraph) -> dict[str, torch.Tensor]:
    """Zeros for all tensors."""
    return {n: torch.zeros(s.shape, dtype=s.dtype) for n, s in graph.tensors().items()}


STEPS = frozenset(
    ("link", "unlink", "replace", "rename", "fsync", "write", "sendall", "execute", "begin", "put")
)
"""Functions in C of the system and of the stores' libraries, before which a process may die."""


Opener = Callable[[], TransferMethod]
Work = Callable[[TransferMethod], Any]


def count_steps(opener: Opener, work: Work) -> int:
    """Run in a forked process and return how many `STEPS` the work took."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writing, b"%d" % _in_child(_Steps(0), opener, work))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        done = answer.read()
    os.waitpid(pid, 0)
    assert done, "the work failed"
    return int(done)


def die_before_step(number: int, opener: Opener, work: Work) -> None:
    """Run in a forked process that is killed before the work's ``number``-th step, from 1."""
    pid = os.fork()
    if not pid:
        _in_child(_Steps(number), opener, work)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def spread(count: int, most: int) -> Iterator[int]:
    """Numbers from 1 to ``count``, evenly spread, the last among them."""
    chosen = min(count, most)
    return iter(sorted({round(1 + i * (count - 1) / max(chosen - 1, 1)) for i in range(chosen)}))


class _Steps:
    def __init__(self, last: int) -> None:
        self.done = 0
        self._last = last

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "c_call" or isinstance(argument.__self__, str):  # str.replace is no step
            return
        if argument.__name__ in STEPS:
            self.done += 1
            if self.done == self._last:
                os.kill(os.getpid(), signal.SIGKILL)


def _in_child(steps: _Steps, opener: Opener, work: Work) -> int:
    try:
        method = opener()
        sys.setprofile(steps)
        work(method)
        sys.setprofile(None)
        return steps.done
    except BaseException:
        sys.setprofile(None)
        sys.excepthook(*sys.exc_info())
        os._exit(1)
