"""The errors that the instrument raises: one line each, with what was found and expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HarnessError(Exception):
    """Base of every error that the harness raises on purpose; its text is one clear line."""


class InputError(HarnessError, ValueError):
    """A file, option, section or parameter given by the user is wrong."""


class RefusedError(HarnessError, NotImplementedError):
    """The case means nothing here (no device, a file system without a cache); asv skips it."""


class WrongResultError(HarnessError):
    """The operation gave a wrong answer: the sample failed."""


class UnprovedError(HarnessError):
    """A sample was to start cold, and that cannot be proved: it must not enter an average."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest known name, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
