"""The best donor among models that are spread over the ranks of MPI."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from benchmarks.populations import check_search_space
from benchmarks.support.child_processes import check_library, child_command
from benchmarks.support.query_times import latencies
from harness.benchmark import Benchmark
from harness.errors import HarnessError, RefusedError, WrongResultError
from harness.records import Param

QUERIES: Final = 300


class MpiQuery(Benchmark):
    """Inside the clock: one query, sent to all ranks, answered by each, the best answer to all.

    Each rank has an index of its share of ``n_models`` models; the query is broadcast, the answers
    are reduced (Underwood et al., "EvoStore", HPDC 2024). The median over 300 queries, for which
    the ranks wait for each other before; ``single_seconds`` of the extra is one index of all models
    in one process. Ranks are started for the sample, and more than there are cores share them. What
    is checked: the ranks find what the one index finds; a rank says so. Messages of a few hundred
    bytes are bound by the ranks' waking up, not by a bandwidth: there is no ideal time.
    """

    params = ((1, 2, 4), (1_000, 10_000), ("feed-forward",))
    param_names = ("ranks", "n_models", "space")
    quick = None
    open_params: ClassVar[Sequence[str]] = ("space",)
    unit = "seconds"
    version = "2"  # 1 measured the working tree's library for every commit
    repeat = 3
    timeout = 900

    @classmethod
    def check_param(cls, name: str, value: Param) -> None:
        """Check the search space."""
        check_search_space(str(value))

    def prepare(self, ranks: int, n_models: int, space: str) -> None:
        from bench_core.optional import require

        program = shutil.which("mpiexec")
        if program is None:
            raise RefusedError("mpiexec is not installed (Debian: apt install openmpi-bin)")
        require("mpi4py", "mpi")
        task = {"models": n_models, "queries": QUERIES, "space": space, "seed": self.seed}
        rank = child_command("benchmarks.support.query_ranks", json.dumps(task))
        self.command = [program, "-n", str(ranks), *rank]
        self.ranks = ranks

    def track_query(self, ranks: int, n_models: int, space: str) -> float:
        self.measured = _json_of(self.command, self.timeout)
        return float(self.measured["median_query_ns"]) / 1e9

    def verify(self) -> None:
        check_library(self.measured["libraries"])
        taken = [ns / 1e9 for ns in self.measured["query_ns"]]
        if self.measured["ranks"] != self.ranks or len(taken) != QUERIES:
            raise WrongResultError(
                f"{len(taken)} queries of {self.measured['ranks']} ranks, expected {QUERIES} of "
                f"{self.ranks}"
            )
        self.note(single_seconds=self.measured["median_single_ns"] / 1e9, **latencies(taken))


def _json_of(command: list[str], timeout: float) -> Any:
    """Run ranks, more than there are cores if need be, and return what they print.

    Raises:
        HarnessError: they failed; the text is the first line that they complained with.
    """
    environment = {**os.environ, "OMPI_MCA_rmaps_base_oversubscribe": "1"}
    if os.geteuid() == 0:  # in containers, where Open MPI wants to be told twice
        environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip("- ")]
        raise HarnessError(f"mpiexec ended with {done.returncode}: {said[0] if said else ''}")
    return json.loads(done.stdout)
