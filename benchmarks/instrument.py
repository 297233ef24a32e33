"""What the instrument itself costs, and whether it can make a file cold."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from benchmarks.support.common import process_folder
from harness import cache
from harness.benchmark import Benchmark
from harness.errors import WrongResultError
from harness.records import Param

SAMPLES: Final = 100
BLOCK: Final = 1 << 20


class NoOperation(Benchmark):
    """Inside the clock: nothing; what remains is what every sample's figure contains of the clock.

    ``track_sample``: what a whole sample costs beside its operation, in seconds: the mean of some
    samples of nothing, with counters and record, without cache states.
    """

    unit = "seconds"

    def time_nothing(self) -> None:
        pass

    def track_sample(self) -> float:
        benchmark = NoOperation()
        began = time.perf_counter()
        for _ in range(SAMPLES):
            benchmark.sample("time_nothing")
        return (time.perf_counter() - began) / SAMPLES


class CacheDrop(Benchmark):
    """The resident share of a file's pages after it was made cold; the file had been read through.

    Nothing is timed. ``cold_host`` drops the whole page cache, which needs permission and hurts
    everybody on the machine, so it runs only where an experiment asks for it.
    """

    params = (("cold_file",), (16,))
    param_names = ("state", "mebibytes")
    open_params = ("state",)
    unit = "share of pages"

    @classmethod
    def check_param(cls, name: str, value: Param) -> None:
        """Check the state."""
        cache.parse_state(str(value))

    def prepare(self, state: str, mebibytes: int) -> None:
        self.path: Path = process_folder() / "resident"
        self.path.write_bytes(_random_bytes(BLOCK) * mebibytes)
        self.before = cache.prepare([self.path], cache.CacheState.WARM)

    def track_resident(self, state: str, mebibytes: int) -> float | None:
        return cache.prepare([self.path], state).resident

    def verify(self) -> None:
        """Fail where the file was not resident before, or still is."""
        self.note(resident_before=self.before.resident)
        doubt = self.before.doubt
        if doubt is None and self.result > cache.COLD_AT_MOST:
            doubt = f"{self.result:.1%} of the pages is resident after the drop"
        if doubt is not None:
            raise WrongResultError(doubt)

    def clean(self) -> None:
        self.path.unlink(missing_ok=True)


def _random_bytes(count: int) -> bytes:
    import random

    generator: Any = random.Random(0)
    data: bytes = generator.randbytes(count)
    return data
