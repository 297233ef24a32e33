"""Who starts the processes that take the shares of an experiment, and where: one file an engine.

Every engine is an existing one; none schedules by itself. All start the same function with the same
argument, `harness.experiments.share.take_share`, and need a folder that all machines see.
"""

from __future__ import annotations

import importlib
from typing import Final, cast

from harness.experiments.engines.base import Engine, EngineError, Waiting

__all__ = ["ENGINES", "Engine", "EngineError", "Waiting", "get"]

ENGINES: Final = {
    "processes": "harness.experiments.engines.processes",
    "ray": "harness.experiments.engines.ray_tasks",
    "mpi": "harness.experiments.engines.mpi_pool",
    "slurm": "harness.experiments.engines.slurm_jobs",
}
"""Name to the module that defines its ``run``."""


def get(name: str) -> Engine:
    """Return an engine; what it needs is imported when it runs."""
    return cast("Engine", importlib.import_module(ENGINES[name]).run)
