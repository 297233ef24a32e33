"""How fast a search is planned: prefix tree, execution tree, order, up to 100,000 models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.benchmark import Benchmark
from harness.errors import WrongResultError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ORDERS = ("dfs_plus", "best_order")
_OUTPUT_BYTES = 1000
_FEATURE_BYTES = 10


class Planner(Benchmark):
    """Inside the clock: the prefix tree of all models' chains, the execution tree, one order.

    Each model is an earlier one, drawn at random, with its last blocks replaced: some 10 % of them,
    as in the published sets of top layers. What goes in is a matrix of block numbers.
    """

    params = (ORDERS, (1_000, 3_000, 10_000, 30_000, 100_000), (50,))
    param_names = ("order", "n_models", "n_blocks")
    quick = {"n_models": (1_000,), "order": ORDERS}
    timeout = 120

    ids: npt.NDArray[np.int64]

    def prepare(self, order: str, n_models: int, n_blocks: int) -> None:
        self.order = order
        self.ids = self.cached(
            ("chains", n_models, n_blocks, self.seed),
            lambda: derived_chains(n_models, n_blocks, self.seed),
        )

    def time_plan(self, order: str, n_models: int, n_blocks: int) -> Any:
        from bench_core.model_search import planning

        keys = [str(number) for number in range(int(self.ids.max()) + 1)]
        tree = planning.ExecutionTree.of(planning.PrefixTree.of_ids(self.ids, keys))
        sizes = [_OUTPUT_BYTES if unit.children else 0 for unit in tree.units]
        retained = [_FEATURE_BYTES if unit.models else 0 for unit in tree.units]
        return tree, getattr(planning, order)(tree, sizes, retained)

    def verify(self) -> None:
        tree, schedule = self.result
        ended = sum(len(unit.models) for unit in tree.units)
        if ended != len(self.ids):
            raise WrongResultError(f"{ended} models end in the tree, expected {len(self.ids)}")
        self.note(
            peak_bytes=schedule.peak,
            units=len(tree.units),
            blocks=tree.prefixes.n_nodes,
            blocks_unshared=int((self.ids >= 0).sum()),
        )


def derived_chains(n_models: int, n_blocks: int, seed: int) -> npt.NDArray[np.int64]:
    """Return ``(n_models, n_blocks)`` block numbers: chained derivation, suffixes replaced."""
    import numpy as np

    random = np.random.default_rng(seed)
    replaced = np.clip(np.round(random.normal(0.1, 0.05, n_models) * n_blocks), 0, n_blocks)
    bases = (random.random(n_models) * np.arange(n_models)).astype(np.int64)
    ids = np.empty((n_models, n_blocks), dtype=np.int64)
    ids[0] = np.arange(n_blocks)
    fresh = n_blocks
    for model in range(1, n_models):
        ids[model] = ids[bases[model]]
        own = int(replaced[model])
        if own:
            ids[model, -own:] = np.arange(fresh, fresh + own)
            fresh += own
    return ids
