"""The errors that bench_core raises: each message says what was found, expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchCoreError(Exception):
    """Base of every error that bench_core raises on purpose; its text is one clear line."""

    def __str__(self) -> str:
        return " ".join(str(arg) for arg in self.args)


class UnknownNameError(BenchCoreError, ValueError):
    """A format, model, selector or policy was named that does not exist."""


class TensorNotFoundError(BenchCoreError, KeyError):
    """A tensor was asked for that the file does not hold."""


class CorruptFileError(BenchCoreError, ValueError):
    """A file is truncated or its content contradicts itself."""


class TensorMismatchError(BenchCoreError, ValueError):
    """A destination tensor differs in shape, dtype or name from the stored one."""


class MissingExtraError(BenchCoreError, ImportError):
    """An optional library is not installed."""


class UnsupportedError(BenchCoreError, NotImplementedError):
    """The platform, file system or library cannot do what was asked."""


class SaveError(BenchCoreError, OSError):
    """A write could not be completed; the previous file, if any, is untouched.

    Unless the text says that the new one was written: what failed came after it was in its place.
    """


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest candidate, or an empty string."""
    close = difflib.get_close_matches(name, list(candidates), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
