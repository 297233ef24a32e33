"""What a put costs that writes next to nothing, and how its time grows with what it writes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from benchmarks.incremental_puts import LAYERS, PutBenchmark, changed_positions
from benchmarks.support.common import require_equal
from benchmarks.support.equal_stacks import (
    INPUTS,
    STORE_ENGINES,
    bytes_at,
    equal_stack,
    names_of,
    random_model,
)
from harness.errors import WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    from harness.limits import Limits

SHARES: Final = (0, 1, 10, 25, 50, 75, 100)


class TinyPut(PutBenchmark):
    """Inside the clock: a put of a child of a model of five layers of 64 values, until durable.

    All layers changed, or one of them: so few bytes that what is left is the price of a put. Ideal:
    one fsync; in memory none.
    """

    params = (STORE_ENGINES, ("all", "one"))
    param_names = ("engine", "changed")
    layers = 4

    model: int

    def prepare(self, engine: str, changed: str) -> None:
        self.engine = engine
        self.graph = equal_stack(_tiny_bytes(self.layers), self.layers)
        self.parent = random_model(self.graph, self.seed)
        self.target = self.filled(engine)
        positions = range(len(self.graph)) if changed == "all" else (self.layers,)
        self.tensors = self.child(positions)
        self.own = {name: self.tensors[name] for name in names_of(self.graph, positions)}
        self.match = self.donor(positions)
        self.model = next(self.target.ids)

    def time_put(self, engine: str, changed: str) -> object:
        return self.target.store.put(self.model, self.graph, self.own, donor=self.match)

    def ideal_seconds(self, limits: Limits) -> float | None:
        return None if self.engine == "memory" else limits.seconds("fsync_seconds", 1)

    def verify(self) -> None:
        require_equal(self.target.store.get(self.model), self.tensors)
        self.note(written_bytes=self.result.bytes_physical)

    def clean(self) -> None:
        """Retire the child."""
        if hasattr(self, "model"):
            self.retire(self.model)


class PutScaling(PutBenchmark):
    """How well the time of puts follows the bytes that they write: R² of a straight line.

    Through the medians of three puts of each share, taken in turns: 0, 1, 10, 25, 50, 75 and 100 %
    of the equal layers changed, the last ones. ``fixed_seconds`` is where the line begins,
    ``slope_gb_per_s`` the bandwidth that it stands for. After each put the child is compared and
    retired. Not a time.
    """

    params = (STORE_ENGINES, (2,), (LAYERS,))
    param_names = ("engine", "mebibytes", "layers")
    quick: ClassVar[Mapping[str, Sequence[Param]] | None] = None
    unit = "R2"
    passes = 3

    def prepare(self, engine: str, mebibytes: int, layers: int) -> None:
        self.prepare_parent(mebibytes, layers)
        self.target = self.filled(engine)
        self.changed = [changed_positions(share, "last", layers) for share in SHARES]
        self.seconds: list[list[float]] = [[] for _ in SHARES]

    def track_fit(self, engine: str, mebibytes: int, layers: int) -> float:
        for _ in range(self.passes):
            for changed, seconds in zip(self.changed, self.seconds, strict=True):
                seconds.append(self._put_seconds(changed))
        medians = [statistics.median(seconds) for seconds in self.seconds]
        self.line = fitted([bytes_at(self.graph, changed) for changed in self.changed], medians)
        return self.line.r2

    def verify(self) -> None:
        """State the line, and every time behind it; the children were compared one by one."""
        self.note(
            fixed_seconds=self.line.fixed,
            slope_gb_per_s=1 / self.line.slope / 1e9 if self.line.slope > 0 else None,
            written_bytes=[bytes_at(self.graph, changed) for changed in self.changed],
            put_seconds=self.seconds,
        )

    def _put_seconds(self, changed: Sequence[int]) -> float:
        store, model = self.target.store, next(self.target.ids)
        tensors, match = self.child(changed), self.donor(changed)
        own = {name: tensors[name] for name in names_of(self.graph, changed)}
        started = time.perf_counter_ns()
        store.put(model, self.graph, own, donor=match)
        seconds = (time.perf_counter_ns() - started) / 1e9
        require_equal(store.get(model), tensors)
        if store.retire(model) < bytes_at(self.graph, changed):
            raise WrongResultError(f"the retired model {model} left bytes behind")
        return seconds


class Line(NamedTuple):
    """Least squares through some points."""

    fixed: float
    slope: float
    r2: float


def fitted(x: Sequence[float], y: Sequence[float]) -> Line:
    """Return the straight line through points, and how much of the spread of y it explains."""
    import numpy as np

    slope, fixed = np.polyfit(x, y, 1)
    left = np.asarray(y) - (fixed + slope * np.asarray(x))
    spread = np.asarray(y) - np.mean(y)
    total = float(spread @ spread)
    return Line(float(fixed), float(slope), 1 - float(left @ left) / total if total else 1.0)


def _tiny_bytes(layers: int) -> int:
    """Return the bytes of a stack of width 8."""
    width = 8
    return 4 * (INPUTS * width + width + layers * (width * width + width))
