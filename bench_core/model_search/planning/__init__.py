"""Planning: what models share, in which order it runs, and how much memory that takes."""

from bench_core.model_search.planning.best_order import best_order
from bench_core.model_search.planning.chunking import chunks
from bench_core.model_search.planning.dfs_plus import dfs_plus
from bench_core.model_search.planning.prefix_tree import PrefixTree
from bench_core.model_search.planning.schedule import PlanError, Schedule, Step, simulate
from bench_core.model_search.planning.sure_path import sure_path
from bench_core.model_search.planning.tree_cut import cut_tree
from bench_core.model_search.planning.units import ExecutionTree, Unit, borders_of

__all__ = [
    "ExecutionTree",
    "PlanError",
    "PrefixTree",
    "Schedule",
    "Step",
    "Unit",
    "best_order",
    "borders_of",
    "chunks",
    "cut_tree",
    "dfs_plus",
    "simulate",
    "sure_path",
]
