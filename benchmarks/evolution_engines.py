"""The smallest search, on each engine that trains candidates: what do its workers cost?"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.support.common import process_folder
from harness.benchmark import Benchmark
from harness.errors import WrongResultError

if TYPE_CHECKING:
    from bench_core.weight_transfer.evolution import Evolution, SearchResult, Setup


class SearchEngine(Benchmark):
    """Inside the clock: a synchronous search among linear regressions, its workers' start included.

    After the published minimal search: ten candidates of one layer, ten epochs at most, batches of
    100. Checked: every engine finds what the serial one finds, bit for bit. There is no ideal
    time: no limit of the machine bounds the start of processes.
    """

    params = (("serial", "processes", "ray"), (6, 10, 100), (2, 4))
    param_names = ("engine", "candidates", "workers")
    quick = {"engine": ("serial", "processes")}
    timeout = 300

    settings: Evolution
    folder: Path | None = None

    def prepare(self, engine: str, candidates: int, workers: int) -> None:
        from bench_core.optional import require
        from bench_core.weight_transfer.evolution import Evolution

        if engine == "ray":
            require("ray", "ray")
        self.folder = Path(tempfile.mkdtemp(prefix="engines-", dir=process_folder()))
        self.settings = Evolution(
            candidates=candidates,
            population=4,
            sample=2,
            seed=self.seed,
            in_flight=workers,
            is_synchronous=True,
        )

    def time_search(self, engine: str, candidates: int, workers: int) -> SearchResult:
        from bench_core.weight_transfer.evolution import search

        processes = 1 if engine == "serial" else workers
        return search(self._setup("timed"), self.settings, engine=engine, workers=processes)

    def verify(self) -> None:
        """Compare with the serial engine's candidates, donors and scores."""
        from bench_core.weight_transfer.evolution import search

        found, expected = self.result, search(self._setup("checked"), self.settings)
        for one, other in zip(found.arrivals, expected.arrivals, strict=True):
            if (one.candidate, one.outcome.accuracy) != (other.candidate, other.outcome.accuracy):
                raise WrongResultError(
                    f"birth {one.candidate.birth} is {one.outcome.accuracy} of {one.candidate}, on "
                    f"the serial engine {other.outcome.accuracy} of {other.candidate}"
                )
        self.note(best=found.best.outcome.accuracy)

    def clean(self) -> None:
        """Remove the models."""
        import shutil

        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def _setup(self, name: str) -> Setup:
        from bench_core.weight_transfer import applications
        from bench_core.weight_transfer.evolution import MethodRecipe, Setup

        about = applications.get("toy_regression")
        method = MethodRecipe("store", str(self.folder / name) if self.folder else None)
        return Setup(about.space, about.task, method, about.plan)
