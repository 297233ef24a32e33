"""In which tensors models agree, how far the others differ, and how their bits do."""

from bench_core.snapshots.compare.bits import BitStatistics, bit_statistics
from bench_core.snapshots.compare.comparison import Comparison, TensorComparison, compare_models
from bench_core.snapshots.compare.differences import Difference, difference
from bench_core.snapshots.compare.levels import Group, Level, groups, level_of
from bench_core.snapshots.compare.models import Model, model_at, model_in, models_under
from bench_core.snapshots.compare.report import Failure, Report

__all__ = [
    "BitStatistics",
    "Comparison",
    "Difference",
    "Failure",
    "Group",
    "Level",
    "Model",
    "Report",
    "TensorComparison",
    "bit_statistics",
    "compare_models",
    "difference",
    "groups",
    "level_of",
    "model_at",
    "model_in",
    "models_under",
]
