"""Shares as Ray tasks: on this machine, or on a cluster that is there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from harness.errors import HarnessError
from harness.experiments.engines.base import POLL_SECONDS, EngineError, Waiting, require
from harness.experiments.share import Share, take_share
from harness.records import Param

RETRIES: Final = 2
"""How often Ray starts a task again whose worker is lost."""
TASK_OPTIONS: Final = ("num_cpus", "num_gpus", "memory")
"""Options of each task; all others are for ``ray.init``: ``address`` above all."""


def run(shares: Sequence[Share], options: Mapping[str, Param], waiting: Waiting) -> list[str]:
    """Take each share in a Ray task; see `harness.experiments.engines.base.Engine`.

    Without an ``address`` a Ray of this machine is started, with as many slots as there are shares.
    """
    ray: Any = require("ray", "ray")
    for_tasks = {name: value for name, value in options.items() if name in TASK_OPTIONS}
    for_ray: dict[str, Any] = {k: v for k, v in options.items() if k not in TASK_OPTIONS}
    if "address" not in for_ray:
        for_ray = {"num_cpus": len(shares), "include_dashboard": False, **for_ray}
    ray.init(log_to_driver=False, **for_ray)
    try:
        task = ray.remote(max_retries=RETRIES, **{"num_cpus": 1, **for_tasks})(take_share)
        return _wait(ray, [task.remote(share) for share in shares], waiting)
    finally:
        ray.shutdown()


def _wait(ray: Any, tasks: Sequence[Any], waiting: Waiting) -> list[str]:
    lost = []
    left = list(tasks)
    while left:
        ended, left = ray.wait(left, num_returns=1, timeout=POLL_SECONDS)
        for task in ended:
            try:
                ray.get(task)
            except ray.exceptions.RayTaskError as error:
                raise EngineError(_reason(error)) from error
            except ray.exceptions.RayError as error:
                lost.append(f"share {tasks.index(task)} was lost: {_reason(error)}")
        waiting()
    return lost


def _reason(error: Exception) -> str:
    """Return the text of what was raised in the task, or the last line of what Ray says."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, HarnessError):
        return str(cause)
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
