"""The best donor among up to 60,000 models: inverted index, local scan, and scan over Redis."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from benchmarks.support.prefix_populations import QUERIES, StoredNames, local_scan, search_space
from benchmarks.support.prefix_readers import read_at_once
from benchmarks.support.query_times import latencies, timed
from harness.benchmark import Benchmark
from harness.errors import WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    from bench_core.weight_transfer.graphs import ArchitectureGraph
    from bench_core.weight_transfer.prefix import Match

CONTENDERS: Final = ("index", "local_scan", "redis_scan")
N_MODELS: Final = (1_000, 10_000, 60_000)
MATCHES: Final = (0, 50, 100)
MODELS_READ: Final = {"local_scan": 500_000, "redis_scan": 20_000}
"""Models that a scan may look at in one sample: it asks as many queries as that allows."""
LEAST_QUERIES: Final = 2
CHECKED: Final = 10
"""Queries of a sample whose answers are compared with a comparison of every model."""
READER_QUERIES: Final = {"index": 20_000, "redis_scan": 10}
"""Queries of each concurrent reader."""
READERS_TIMEOUT: Final = 900.0


class PrefixQuery(Benchmark):
    """Inside the clock: one best-prefix query, from a child's names to its donor, each by itself.

    The median over the queries of a sample, all of them different; the extra has the 99th
    percentile, the mean, and queries a second. ``index`` and ``local_scan`` work in this process.
    ``redis_scan`` fetches the names of all models in one pipeline from a Redis server of this
    machine and compares them here: the Redis-Queries of Underwood et al., HPDC 2024. The children's
    names are computed before, whatever else a query derives from them is not. What is checked:
    donor and prefix are those that a comparison of every model gives.
    No bandwidth bounds the look-ups of an index, and a scan is what it saves: no ideal time.
    """

    params = (CONTENDERS, N_MODELS, MATCHES, (30,), ("chain",))
    param_names = ("contender", "n_models", "match", "layers", "space")
    quick = {"contender": CONTENDERS, "match": (50,)}
    open_params: ClassVar[Sequence[str]] = ("space",)
    unit = "seconds"
    timeout = 1200

    @classmethod
    def check_param(cls, name: str, value: Param) -> None:
        """Check the kind of models."""
        search_space(str(value), layers=2)

    def prepare(self, contender: str, n_models: int, match: int, layers: int, space: str) -> None:
        key = (space, n_models, layers, self.seed)
        self.stored = self.cached(("stored names", *key), lambda: StoredNames(*key))
        self.match = match
        self.ask = _asked_of(contender, self.stored)
        self.children = self.stored.queries(match, _count(contender, n_models) + 1)
        self.ask(self.children.pop())  # connections, and what is looked for once

    def track_query(
        self, contender: str, n_models: int, match: int, layers: int, space: str
    ) -> float:
        self.found, self.taken = timed(self.ask, self.children)
        return statistics.median(self.taken)

    def verify(self) -> None:
        for number, child in enumerate(self.children[:CHECKED]):
            expected = self.stored.best(self.match, number, child)
            if self.found[number] != expected:
                raise WrongResultError(f"{self.found[number]} was found, expected {expected}")
        lengths = [0 if match is None else match.score for match in self.found]
        self.note(mean_prefix=statistics.fmean(lengths), **latencies(self.taken))


class ConcurrentReaders(Benchmark):
    """The makespan of processes that query at once, over all their queries: seconds a query.

    From a common start, when all have what they need, to the last answer. Each reader of ``index``
    has an index of its own of the same models, as each process with a layer store has; those of
    ``redis_scan`` share one server. ``index`` answers 20,000 queries of the same 200 children again
    and again, of which all is known after the first time. The extra has queries a second, the
    median and the 99th percentile of single queries, and the makespan. Processes are spawned for
    the sample, before the clock. What is checked: every reader's last donor is that of a comparison
    of every model.
    No bandwidth bounds it: there is no ideal time.
    """

    params = (("index", "redis_scan"), (1, 2, 4), (1_000, 10_000), MATCHES, (30,))
    param_names = ("contender", "readers", "n_models", "match", "layers")
    quick = None
    unit = "seconds"
    repeat = 3
    timeout = READERS_TIMEOUT

    def prepare(self, contender: str, readers: int, n_models: int, match: int, layers: int) -> None:
        key = ("chain", n_models, layers, self.seed)
        self.stored = self.cached(("stored names", *key), lambda: StoredNames(*key))
        self.match = match
        if contender == "redis_scan":
            self.stored.redis  # noqa: B018  # filled now, and kept

    def track_makespan(
        self, contender: str, readers: int, n_models: int, match: int, layers: int
    ) -> float:
        queries = READER_QUERIES[contender]
        if contender == "redis_scan":
            queries = min(queries, _count(contender, n_models))
        self.read = read_at_once(
            readers, contender, self.stored, match, queries, timeout=READERS_TIMEOUT
        )
        return self.read.makespan / len(self.read.taken)

    def verify(self) -> None:
        for last, donor in self.read.last:
            child = self.stored.queries(self.match, last + 1)[last]
            best = self.stored.best(self.match, last, child)
            if donor != (None if best is None else best.donor):
                raise WrongResultError(f"a reader found model {donor}, expected {best}")
        facts = latencies(self.read.taken)
        facts["queries_per_second"] = len(self.read.taken) / self.read.makespan
        self.note(makespan_seconds=self.read.makespan, **facts)


def _count(contender: str, n_models: int) -> int:
    """Return how many queries of a contender a sample has."""
    most = QUERIES - 1
    if contender in MODELS_READ:
        most = min(most, MODELS_READ[contender] // n_models)
    return max(LEAST_QUERIES, most)


def _asked_of(contender: str, stored: StoredNames) -> Callable[[ArchitectureGraph], Match | None]:
    if contender == "index":
        return stored.index.best
    if contender == "local_scan":
        return functools.partial(local_scan, stored.sets)
    return stored.redis.scan.best_match
