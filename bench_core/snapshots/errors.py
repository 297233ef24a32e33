"""What a store of models refuses, and what it finds damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench_core.errors import BenchCoreError, CorruptFileError


class CorruptBlockError(CorruptFileError):
    """A stored block is missing or damaged; the text names it, its file and who uses it."""

    def __init__(
        self,
        text: str,
        *,
        key: str = "",
        path: Path | None = None,
        models: Sequence[str] = (),
        reason: str = "",
    ) -> None:
        super().__init__(text)
        self.key = key
        self.path = path
        self.models = tuple(models)
        self.reason = reason


class ModelNameError(BenchCoreError, ValueError):
    """A name that no model in a store can have."""


class ModelExistsError(BenchCoreError, ValueError):
    """The store has another model of this name."""


class StoreBusyError(BenchCoreError, TimeoutError):
    """Somebody else is at work on the store and did not come to an end."""


class UnsafeFileError(BenchCoreError, ValueError):
    """A pickle that would run code when it is read: it was not."""
