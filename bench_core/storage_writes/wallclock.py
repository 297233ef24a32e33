"""Parallel writes from fresh processes, with every boundary from spawn to durable stamped."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from bench_core import formats, models
from bench_core.errors import UnknownNameError, UnsupportedError, nearest
from bench_core.formats import Durability
from bench_core.storage_writes.scratch import scratch_folder
from bench_core.storage_writes.task import TaskRequest
from bench_core.storage_writes.task_pool import run_tasks
from bench_core.storage_writes.task_times import TaskTimes
from bench_core.storage_writes.to_memory import memory_target
from bench_core.storage_writes.whole import durability_of

Setup = Literal["included", "excluded"]
Target = Literal["disk", "memory"]
Sync = Literal["none", "end", "each_task", "each_tensor"]


def write_wallclock(
    *,
    model: str,
    directory: Path,
    setup: Setup = "excluded",
    target: Target = "disk",
    sync: Sync = "each_task",
    n_procs: int = 1,
    format: str = "direct",
    durability: Durability | str = Durability.FSYNC_DIR,
    memory: str = "arena",
    n_changes: int | None = None,
    device: str = "auto",
    seed: int = 0,
    timeout: float = 300.0,
) -> list[TaskTimes]:
    """Write a model from fresh processes at once; return one row per task, failed ones included.

    Every process is spawned, imports the library, sets up its device and builds its model. With
    ``setup="excluded"`` all then meet at a barrier before they write. What was written is read
    back and compared after the last task is durable, and then removed.

    Args:
        model: a name in `bench_core.models`.
        directory: where files are written, in a folder of their own that is removed.
        setup: whether a start counts from the spawn, or from after the barrier.
        target: ``disk``, or ``memory``: the same without the storage.
        sync: when the writes become durable. ``each_task``: within each task; ``end``: by one
            flush after the last task returned; ``none``: never; ``each_tensor``: each tensor is
            a file with a durability point of its own. To memory, when the device is synchronised.
        n_procs: number of tasks.
        format: a name in `bench_core.formats.names`.
        durability: what durable means (see `Durability`).
        memory: for ``target="memory"``, a name in `memory_targets`. The arena's memory is there
            before the write begins.
        n_changes: None: all tasks write the same tensors. k: the first k layers have the same
            names and values in every task, later ones are each task's own.
        device: ``auto`` (CUDA devices in turn, else CPU), ``cpu``, or a torch device.
        seed: of the model's values.
        timeout: seconds until a task that has not finished is killed and its row failed.

    Raises:
        UnknownNameError: a model, format, durability or option that does not exist.
        UnsupportedError: ``n_procs`` is not positive, or this system lacks the memory target.
        SaveError: ``directory`` cannot be written to.
    """
    _check_options(setup=(setup, Setup), target=(target, Target), sync=(sync, Sync))
    if n_procs < 1:
        raise UnsupportedError(f"n_procs is {n_procs}; expected at least 1")
    level = durability_of(durability)
    if target == "memory":
        memory_target(memory).close()  # refuses here what every task would
    common = TaskRequest(
        target=target,
        memory=memory,
        format=format,
        sync=sync,
        durability="return" if sync in ("none", "end") else level.value,
        seed=seed,
    )
    with scratch_folder(directory) as folder:
        requests = [
            dataclasses.replace(
                common,
                device=_device(device, task),
                path=str(_path(folder, task, common)),
                specs=_encode(_changed(models.specs(model), n_changes, task)),
            )
            for task in range(n_procs)
        ]
        flush = None
        if target == "disk" and sync == "end":
            flush = functools.partial(_flush, requests, level)
        at_barrier = setup == "excluded"
        outcomes = run_tasks(requests, at_barrier=at_barrier, flush=flush, timeout=timeout)
    return [
        TaskTimes(
            task=task,
            setup=setup,
            status="ok" if outcome.reason is None else "failed",
            device=request.device,
            **vars(outcome),
        )
        for task, (request, outcome) in enumerate(zip(requests, outcomes, strict=True))
    ]


def _path(folder: Path, task: int, request: TaskRequest) -> Path:
    """Return where a task writes: a file, or with a file per tensor a folder, made here."""
    path = folder / f"task-{task}{formats.get(request.format).suffix}"
    if request.target == "disk" and request.sync == "each_tensor":
        path.mkdir()
    return path


def _changed(
    specs: Mapping[str, models.TensorShape], n_changes: int | None, task: int
) -> dict[str, models.TensorShape]:
    """Return the specs with names of this task's own from layer ``n_changes`` on.

    A tensor's values follow from its name, so the values are its own too.
    """
    layers = models.group(specs).values()
    kept = len(layers) if n_changes is None else n_changes
    return {
        name if position < kept else f"task{task}.{name}": specs[name]
        for position, layer in enumerate(layers)
        for name in layer
    }


def _encode(specs: Mapping[str, models.TensorShape]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return the specs as JSON can hold them."""
    return {
        name: (spec.shape, str(spec.dtype).removeprefix("torch.")) for name, spec in specs.items()
    }


def _device(device: str, task: int) -> str:
    if device != "auto":
        return device
    n_devices = torch.cuda.device_count()
    return f"cuda:{task % n_devices}" if n_devices else "cpu"


def _flush(requests: Sequence[TaskRequest], level: Durability) -> None:
    """Bring files that were written without a durability point to ``level``."""
    if level is Durability.GLOBAL_SYNC:
        os.sync()
    if level in (Durability.RETURN, Durability.GLOBAL_SYNC):
        return
    written = [path for request in requests if (path := Path(request.path)).exists()]
    format_ = formats.get(requests[0].format)
    targets = [file for path in written for file in format_.files(path)]
    if level is Durability.FSYNC_DIR:
        targets += {target.parent for target in [*targets, *written]}
    for target in targets:
        descriptor = os.open(target, os.O_RDONLY)
        try:
            (os.fdatasync if level is Durability.FDATASYNC else os.fsync)(descriptor)
        finally:
            os.close(descriptor)


def _check_options(**options: tuple[str, Any]) -> None:
    """Raise unless each option has one of the values of its `Literal`."""
    for option, (value, literal) in options.items():
        known = get_args(literal)
        if value not in known:
            raise UnknownNameError(
                f"unknown {option} {value!r}; expected one of {', '.join(known)}"
                f"{nearest(value, known)}"
            )
