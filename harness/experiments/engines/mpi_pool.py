"""Shares on MPI ranks, by `mpi4py.futures`.

``mpiexec -n 5 python -m mpi4py.futures -m harness.cli run NAME --engine mpi -j 4`` has four ranks
for shares and one that waits for them; without ``mpiexec`` MPI starts the ranks itself.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import HarnessError, InputError
from harness.experiments.engines.base import POLL_SECONDS, EngineError, Waiting, require
from harness.experiments.share import Share, take_share
from harness.records import Param


def run(shares: Sequence[Share], options: Mapping[str, Param], waiting: Waiting) -> list[str]:
    """Take each share on an MPI rank; see `harness.experiments.engines.base.Engine`.

    A rank that is lost takes all others with it, as MPI has it: what was taken is in the folder,
    and the same command goes on.
    """
    if options:
        raise InputError(f"the engine 'mpi' has no option {next(iter(options))!r}; see mpiexec")
    futures: Any = require("mpi4py.futures", "mpi")
    with futures.MPIPoolExecutor(max_workers=len(shares)) as executor:
        left = {executor.submit(take_share, share) for share in shares}
        while left:
            ended, left = concurrent.futures.wait(left, POLL_SECONDS)
            for future in ended:
                error = future.exception()
                if isinstance(error, HarnessError):
                    raise EngineError(str(error)) from error
                if error is not None:
                    raise error
            waiting()
    return []
