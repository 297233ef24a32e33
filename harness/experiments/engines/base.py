"""What every engine does: start the shares, wait for all, tell which were lost."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Final, Protocol

from harness.errors import HarnessError, InputError
from harness.experiments.share import Share
from harness.records import Param

Waiting = Callable[[], None]
"""Called now and then by an engine that waits."""

POLL_SECONDS: Final = 0.5


class EngineError(HarnessError):
    """A share ended in an error that is no sample's: the run cannot go on as it is."""


class Engine(Protocol):
    """Takes shares, each in a process of its own, and returns when all have ended."""

    def __call__(
        self, shares: Sequence[Share], options: Mapping[str, Param], waiting: Waiting
    ) -> list[str]:
        """Return a line for each share that was lost; what it had taken is in the run's folder.

        Raises:
            InputError: the engine is not installed, or an option is wrong.
            EngineError: a share could not do its work, for a reason that will not go away.
        """


def require(module: str, extra: str) -> ModuleType:
    """Import what an engine needs.

    Raises:
        InputError: it is not installed; the text names the extra that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"this engine needs {module.partition('.')[0]}: {error}; "
            f"install it with: pip install 'bench-core[{extra}]'"
        ) from error
