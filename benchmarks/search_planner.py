"""A search's plan: how fast it is made for up to 100,000 models, and the memory that it needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from benchmarks.support.unstored_models import unstored_models
from harness.benchmark import Benchmark
from harness.errors import WrongResultError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bench_core.model_search.candidates import Candidates
    from bench_core.model_search.plan import Plan
    from bench_core.model_search.planning import ExecutionTree, Schedule

ORDERS: Final = ("dfs_plus", "best_order")
FEATURE_BYTES: Final = 2048
"""Of the features of an item, which stay: 512 numbers, as those of ResNet-18."""
LARGEST_OUTPUT: Final = 1 << 20
CHECKED_MODELS: Final = 100
BLOCK_BYTES: Final = 1 << 20
N_BATCHES: Final = 10
BATCH_SIZE: Final = 32
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


class PlannedRound(Benchmark):
    """Inside the clock: the whole plan of a first round, from the models' blocks on.

    That is the prefix tree and execution tree, our order, the chunks of 10 batches, and which of
    the distinct blocks, of 1 MiB each, are in memory when: under a budget for ``half`` of their
    bytes, or for ``all`` of them and more. The models are those of `Planner`. No bandwidth bounds
    this: there is no ideal time.
    """

    params = (("all", "half"), (1_000, 3_000, 10_000, 30_000, 100_000), (50,), (10,))
    param_names = ("memory", "n_models", "n_blocks", "own_percent")
    quick = {"n_models": (1_000,), "memory": ("all", "half")}
    timeout = 300

    def prepare(self, memory: str, n_models: int, n_blocks: int, own_percent: int) -> None:
        key = ("planner's models", n_models, n_blocks, own_percent, self.seed)
        self.candidates: Candidates = self.cached(
            key, lambda: unstored_models(derived_chains(*key[1:]), BLOCK_BYTES)
        )
        # As in a search, which looks at its models' keys before its first round.
        distinct = len(self.candidates.blocks) * BLOCK_BYTES
        largest = (len(self.candidates.keys[0]) + 1) * BLOCK_BYTES
        self.budget = 2 * distinct if memory == "all" else max(distinct // 2, largest)

    def time_plan(self, memory: str, n_models: int, n_blocks: int, own_percent: int) -> Any:
        return planned_round(self.candidates, self.budget)

    def verify(self) -> None:
        """Carry out what is read and evicted, and check that the plan keeps to its budget."""
        plan: Plan = self.result
        n_loads, n_evicted = carried_out(plan)
        if plan.loaded != n_loads * BLOCK_BYTES or plan.block_budget > self.budget:
            raise WrongResultError(
                f"{plan.loaded:,} bytes planned to be read, {n_loads} blocks are"
            )
        self.note(
            units=len(plan.work.tree.units),
            blocks=len(self.candidates.blocks),
            chunks=len(plan.chunks),
            loads=n_loads,
            evictions=n_evicted,
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


def planned_round(candidates: Candidates, budget: int) -> Plan:
    """Return our engine's plan of a round in which all models take part."""
    from bench_core.model_search import planning
    from bench_core.model_search.batches import cut
    from bench_core.model_search.plan import plan_round
    from bench_core.model_search.units_of_work import UnitsOfWork

    whole = planning.PrefixTree.of(candidates.keys)
    live = whole.of_models(range(len(candidates)))
    tree = planning.ExecutionTree.of(live, planning.borders_of(whole))
    work = UnitsOfWork(tree, candidates)
    batches = cut("train", 0, N_BATCHES * BATCH_SIZE, BATCH_SIZE)
    return plan_round(work, batches, candidates.input_bytes, BATCH_SIZE, budget, {})


def carried_out(plan: Plan) -> tuple[int, int]:
    """Return how many blocks are read and evicted on a plan's walk.

    Raises:
        WrongResultError: blocks that are used are not there, or there are too many.
    """
    from bench_core.model_search.residency import plan_residency

    groups = [[ref.key for ref in group] for group in plan.groups]
    sizes = {key: BLOCK_BYTES for group in groups for key in group}
    there: set[str] = set()
    n_loads = n_evicted = 0
    for group, move in zip(groups, plan_residency(groups, sizes, plan.block_budget), strict=True):
        there.difference_update(move.evict)
        there.update(move.load)
        n_loads += len(move.load)
        n_evicted += len(move.evict)
        if len(there) != n_loads - n_evicted or not there.issuperset(group):
            raise WrongResultError("a block is not there when it is used, or is read twice")
        if len(there) * BLOCK_BYTES > plan.block_budget:
            raise WrongResultError(f"{len(there)} blocks are more than {plan.block_budget:,} bytes")
    return n_loads, n_evicted


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
