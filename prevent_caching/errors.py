"""The errors of prevent_caching: each message is one line: what is wrong and what to do."""

from __future__ import annotations

import sys


class PreventCachingError(Exception):
    """Base of every error raised here on purpose; its text is one clear line."""


class UnsupportedPlatformError(PreventCachingError, NotImplementedError):
    """What was asked needs Linux."""


class ResidencyUnknownError(PreventCachingError):
    """The kernel does not tell this process which pages of the file are cached."""


class EvictionRefused(PreventCachingError):
    """Evicting this file means nothing: it is kept in memory, or cached out of reach."""


class DropRefused(PreventCachingError):
    """The page cache was not dropped; the text says by whom it was refused and why."""


class LimitRefused(PreventCachingError):
    """The I/O limit cannot be set here, or does not hold."""


def require_linux(what: str) -> None:
    """Raise UnsupportedPlatformError naming `what` anywhere but on Linux."""
    if sys.platform != "linux":
        raise UnsupportedPlatformError(f"{what} needs Linux, found {sys.platform}")
