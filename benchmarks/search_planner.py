"""A search's plan: how fast it is made for up to 100,000 models, and the memory that it needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from harness.benchmark import Benchmark
from harness.errors import WrongResultError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bench_core.model_search.planning import ExecutionTree, Schedule

ORDERS: Final = ("dfs_plus", "best_order")
FEATURE_BYTES: Final = 2048
"""Of the features of an item, which stay: 512 numbers, as those of ResNet-18."""
LARGEST_OUTPUT: Final = 1 << 20
CHECKED_MODELS: Final = 100
SETS: Final = 20
"""Sets of models over which `PlannedPeak` takes the mean."""


class Planner(Benchmark):
    """Inside the clock: the prefix tree of all models' block keys, the execution tree, one order.

    Each model is an earlier one, drawn at random, with so many percent of its blocks, the last
    ones, replaced: 10 % as in the published sets of top layers, or 50 %. The order's peak is
    simulated inside the clock, too. No bandwidth bounds this: there is no ideal time.
    """

    params = (ORDERS, (1_000, 3_000, 10_000, 30_000, 100_000), (50,), (10, 50))
    param_names = ("order", "n_models", "n_blocks", "own_percent")
    quick = {"n_models": (1_000,), "order": ORDERS}
    timeout = 120

    chains: list[list[str]]

    def prepare(self, order: str, n_models: int, n_blocks: int, own_percent: int) -> None:
        import bench_core.model_search.planning  # noqa: F401  # not inside the clock

        key = ("planner's chains", n_models, n_blocks, own_percent, self.seed)
        self.chains = self.cached(key, lambda: derived_chains(*key[1:]))

    def time_plan(self, order: str, n_models: int, n_blocks: int, own_percent: int) -> Any:
        tree = tree_of(self.chains)
        return tree, planned(tree, order, falling_sizes(tree, n_blocks))

    def verify(self) -> None:
        """Check that units run once and in order, and that every model comes back from them."""
        tree, schedule = self.result
        check_models(tree, self.chains)
        runs = [step.unit for step in schedule.steps if step.kind == "compute"]
        if sorted(runs) != list(range(len(tree.units))):
            raise WrongResultError(f"{len(runs)} runs of {len(tree.units)} units")
        self.note(
            peak_bytes=schedule.peak,
            units=len(tree.units),
            blocks=tree.prefixes.n_nodes,
            blocks_of_models=sum(map(len, self.chains)),
        )


class PlannedPeak(Benchmark):
    """Bytes an item that are alive at most in an order: the geometric mean of 20 sets of models.

    Nothing is timed. Outputs are of ``random`` sizes, or ``falling`` ones as in a ResNet: they
    halve four times on the way. Noted of our order: in how many of the sets it needs less than the
    published one, and the mean and the best of how many times less.
    """

    params = (ORDERS, (5, 10, 35, 1_000), ("random", "falling"), (20,), (50,))
    param_names = ("order", "n_models", "sizes", "n_blocks", "own_percent")
    open_params = ("sizes",)
    quick = {"n_models": (5,), "order": ORDERS, "sizes": ("random", "falling")}
    unit = "bytes an item"

    def prepare(
        self, order: str, n_models: int, sizes: str, n_blocks: int, own_percent: int
    ) -> None:
        self.cases: list[tuple[ExecutionTree, list[int]]] = []
        for seed in range(self.seed * SETS, self.seed * SETS + SETS):
            tree = tree_of(derived_chains(n_models, n_blocks, own_percent, seed))
            is_random = sizes == "random"
            outputs = random_sizes(tree, seed) if is_random else falling_sizes(tree, n_blocks)
            self.cases.append((tree, outputs))

    def track_peak(
        self, order: str, n_models: int, sizes: str, n_blocks: int, own_percent: int
    ) -> float:
        self.schedules = [planned(tree, order, outputs) for tree, outputs in self.cases]
        return geometric_mean([schedule.peak for schedule in self.schedules])

    def verify(self) -> None:
        """Simulate every order again, and hold it against the published one."""
        from bench_core.model_search import planning

        gains = []
        for (tree, outputs), schedule in zip(self.cases, self.schedules, strict=True):
            levels = planning.simulate(tree, outputs, retained(tree), schedule.steps)
            published = planned(tree, "dfs_plus", outputs)
            if max(levels) != schedule.peak or schedule.peak > published.peak:
                raise WrongResultError(
                    f"a peak of {schedule.peak} bytes was planned, {max(levels)} are simulated, "
                    f"the published order needs {published.peak}"
                )
            gains.append(published.peak / schedule.peak)
        self.note(
            sets_with_less=sum(gain > 1 for gain in gains),
            times_less=geometric_mean(gains),
            most_times_less=max(gains),
        )


def derived_chains(n_models: int, n_blocks: int, own_percent: int, seed: int) -> list[list[str]]:
    """Return the block keys of models that are derived from one another, the last ones replaced."""
    import numpy as np

    random = np.random.default_rng(seed)
    mean = own_percent / 100 * n_blocks
    own = np.clip(np.round(random.normal(mean, mean / 2, n_models)), 0, n_blocks).astype(int)
    bases = (random.random(n_models) * np.arange(n_models)).astype(int)
    numbers: npt.NDArray[np.int64] = np.empty((n_models, n_blocks), dtype=np.int64)
    numbers[0] = np.arange(n_blocks)
    fresh = n_blocks
    for model in range(1, n_models):
        numbers[model] = numbers[bases[model]]
        numbers[model, n_blocks - own[model] :] = np.arange(fresh, fresh + own[model])
        fresh += int(own[model])
    keys = np.array([f"{number:064x}" for number in range(fresh)], dtype=object)
    return keys[numbers].tolist()  # type: ignore[no-any-return]


def tree_of(chains: Sequence[Sequence[str]]) -> ExecutionTree:
    """Return the execution tree of models, from their block keys."""
    from bench_core.model_search import planning

    return planning.ExecutionTree.of(planning.PrefixTree.of(chains))


def planned(tree: ExecutionTree, order: str, outputs: Sequence[int]) -> Schedule:
    """Return the schedule of an order of `ORDERS`."""
    from bench_core.model_search import planning

    found: Schedule = getattr(planning, order)(tree, outputs, retained(tree))
    return found


def retained(tree: ExecutionTree) -> list[int]:
    """Return the bytes an item that stay of each unit: features where a model ends."""
    return [FEATURE_BYTES if unit.models else 0 for unit in tree.units]


def falling_sizes(tree: ExecutionTree, n_blocks: int) -> list[int]:
    """Return the bytes an item of each unit's output, halved at each quarter of the way."""
    depths = tree.prefixes.depth[tree.last_node].tolist()
    return [
        LARGEST_OUTPUT >> (4 * depth // n_blocks) if unit.children else 0
        for unit, depth in zip(tree.units, depths, strict=True)
    ]


def random_sizes(tree: ExecutionTree, seed: int) -> list[int]:
    """Return random bytes an item of each unit's output."""
    import numpy as np

    drawn = np.random.default_rng(seed).integers(1, LARGEST_OUTPUT, len(tree.units)).tolist()
    return [size if unit.children else 0 for unit, size in zip(tree.units, drawn, strict=True)]


def check_models(tree: ExecutionTree, chains: Sequence[Sequence[str]]) -> None:
    """Compare some models' chains with the blocks of the units on their way.

    Raises:
        WrongResultError: a model is missing, or differs.
    """
    unit_of = {model: unit for unit in tree.units for model in unit.models}
    if len(unit_of) != len(chains):
        raise WrongResultError(f"{len(unit_of)} models end in the tree, expected {len(chains)}")
    for model in range(0, len(chains), max(1, len(chains) // CHECKED_MODELS)):
        unit, keys = unit_of[model], tree.block_keys(unit_of[model])
        while unit.parent >= 0:
            unit = tree.units[unit.parent]
            keys = tree.block_keys(unit) + keys
        if keys != list(chains[model]):
            raise WrongResultError(f"model {model} has other blocks in the tree")


def geometric_mean(values: Sequence[float]) -> float:
    """Return the mean for ratios."""
    return math.exp(sum(map(math.log, values)) / len(values))
