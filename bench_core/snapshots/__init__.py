"""Sets of models on disk: the content-addressed store, synthetic, trained and imported sets."""

from bench_core.snapshots.errors import (
    CorruptBlockError,
    ModelExistsError,
    ModelNameError,
    StoreBusyError,
    UnsafeFileError,
)
from bench_core.snapshots.fine_tuning import RankCorrelation, fine_tune, rank_correlation
from bench_core.snapshots.garbage import Collected, gc
from bench_core.snapshots.imported import import_folder, import_state_dict
from bench_core.snapshots.imported_sets import ImportFailure, import_set, import_state_dicts
from bench_core.snapshots.manifest import BlockRef, Snapshot
from bench_core.snapshots.sizes import own_bytes, total_bytes, unique_bytes
from bench_core.snapshots.sources import Source, embedded_sources, sources_of
from bench_core.snapshots.store import SnapshotStore
from bench_core.snapshots.synthetic import synthetic_set
from bench_core.snapshots.trained import trained_base, trained_set
from bench_core.snapshots.training import Training
from bench_core.snapshots.verification import Report, verify

__all__ = [
    "BlockRef",
    "Collected",
    "CorruptBlockError",
    "ImportFailure",
    "ModelExistsError",
    "ModelNameError",
    "RankCorrelation",
    "Report",
    "Snapshot",
    "SnapshotStore",
    "Source",
    "StoreBusyError",
    "Training",
    "UnsafeFileError",
    "embedded_sources",
    "fine_tune",
    "gc",
    "import_folder",
    "import_set",
    "import_state_dict",
    "import_state_dicts",
    "own_bytes",
    "rank_correlation",
    "sources_of",
    "synthetic_set",
    "total_bytes",
    "trained_base",
    "trained_set",
    "unique_bytes",
    "verify",
]
