"""Import of optional libraries, with one clear line when an extra is not installed."""

from __future__ import annotations

import importlib
from types import ModuleType

from bench_core.errors import MissingExtraError


def require(module: str, extra: str) -> ModuleType:
    """Import ``module``, or raise `MissingExtraError` naming the extra that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module} is not installed ({error}); "
            f"install it with: pip install 'bench-core[{extra}]'"
        ) from error
