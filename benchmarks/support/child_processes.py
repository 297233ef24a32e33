"""Python processes that a workload starts: with this tree's benchmarks and the measured library.

Over commits the two come from different trees, and each tree has a copy of both: no order of a
``PYTHONPATH`` tells them apart.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from harness.errors import HarnessError

ROOT: Final = Path(__file__).resolve().parents[2]

# `benchmarks` looks the library up when it is imported: by then it is there. The working directory,
# which Python puts first, may hold a third copy of either.
_START: Final = """
import importlib, sys
library, tree, module, *arguments = sys.argv[1:]
sys.path = [library, *filter(None, sys.path)]
importlib.import_module("bench_core")
sys.path[0] = tree
sys.exit(importlib.import_module(module).main(arguments))
"""


def child_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs ``main(arguments)`` of a module of the benchmarks.

    The caller's environment holds for it, ``PYTHONPATH`` included.
    """
    library = str(Path(library_file()).parents[1])
    return [sys.executable, "-c", _START, library, str(ROOT), module, *arguments]


def library_file() -> str:
    """Return where this process has the library from: children say it with their answers."""
    import bench_core

    return str(Path(bench_core.__file__).resolve())


def check_library(said: Iterable[str]) -> None:
    """Compare what children said with this process.

    Raises:
        HarnessError: one of them ran another copy of the library.
    """
    expected = library_file()
    for found in said:
        if found != expected:
            raise HarnessError(
                f"a process took bench_core from {found}, expected {expected}: another version "
                "would be measured"
            )
