"""Shares as jobs of a Slurm array, by submitit; or as its local processes, to try a section."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from harness.errors import InputError
from harness.experiments.engines.base import POLL_SECONDS, EngineError, Waiting, require
from harness.experiments.share import Share, take_share
from harness.records import Param

TIMEOUT_MINUTES: Final = 24 * 60
"""Of a job, unless ``timeout_min`` says otherwise."""
_OURS: Final = re.compile(r"^(?:harness|prevent_caching|bench_core)\.[\w.]*: (.+)$", re.MULTILINE)
"""A line of a traceback whose text is meant for the user."""


def run(shares: Sequence[Share], options: Mapping[str, Param], waiting: Waiting) -> list[str]:
    """Take each share in a job; see `harness.experiments.engines.base.Engine`.

    ``cluster = "local"`` starts processes of this machine in place of jobs. All other options are
    submitit's: ``timeout_min``, ``mem_gb``, ``gpus_per_node``, ``slurm_partition``, …
    """
    submitit: Any = require("submitit", "slurm")
    parameters = {"timeout_min": TIMEOUT_MINUTES, "name": "bench-core", **options}
    cluster = parameters.pop("cluster", None)
    try:
        executor = submitit.AutoExecutor(shares[0].folder.path / "slurm", cluster=cluster)
        executor.update_parameters(**parameters)
        with executor.batch():
            jobs = [executor.submit(take_share, share) for share in shares]
    except (RuntimeError, ValueError, TypeError, NameError, FileNotFoundError) as error:
        raise InputError(f"Slurm: {' '.join(str(error).split())}") from error
    try:
        while not all(job.done() for job in jobs):
            time.sleep(POLL_SECONDS)
            waiting()
    except BaseException:
        for job in jobs:
            job.cancel()
        raise
    return [line for job, share in zip(jobs, shares, strict=True) if (line := _lost(job, share))]


def _lost(job: Any, share: Share) -> str:
    """Return why a job was lost, or "".

    Raises:
        EngineError: the share itself says that it cannot be taken.
    """
    error = job.exception()
    if error is None:
        return ""
    # submitit keeps the traceback of what was raised, not the exception.
    ours = _OURS.search(str(error))
    if ours is not None:
        raise EngineError(ours[1])
    said = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return f"share {share.position} was lost: {said} (log: {job.paths.stderr})"
