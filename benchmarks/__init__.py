"""The workloads: one file a capability, small classes in asv's form; `support` is what they share.

Importing this package decides which code measures and which is measured, for asv imports it in
processes where both could come from several places. What measures (`harness`, `prevent_caching`)
always comes from the tree this file lies in. What is measured (`bench_core`) is whatever the
environment provides; where a commit is being measured, it must be that commit's, or nothing runs.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_ROOT = Path(__file__).resolve().parent.parent


class _WorkingTree:
    """Serves the measuring code from this tree, and nothing else."""

    packages = frozenset({"harness", "prevent_caching"})

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a package of the instrument; for any other name leave it to the other finders."""
        return PathFinder.find_spec(name, [str(_ROOT)]) if name in cls.packages else None


def _require_provenance() -> None:
    """Raise if bench_core would not come from the environment of the commit under test.

    asv names its environment in ``ASV_ENV_DIR``; ``bench-core commits`` names its worktree in
    ``BENCH_CORE_EXPECT``. bench_core is looked up, not imported.
    """
    for variable in ("BENCH_CORE_EXPECT", "ASV_ENV_DIR"):
        expected = os.environ.get(variable)
        if not expected:
            continue
        spec = importlib.util.find_spec("bench_core")
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found is None or not found.is_relative_to(Path(expected).resolve()):
            raise RuntimeError(
                f"bench_core comes from {found or 'nowhere'}, expected below {expected} "
                f"({variable}): another version than the commit's would be measured"
            )


sys.meta_path.insert(0, _WorkingTree)
_require_provenance()
