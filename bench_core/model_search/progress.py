"""How far a search has come."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with how many features of a model and a batch there are, and how many there will be."""


class ModelBatches:
    """Counts the features of a model and a batch: those there are, and those to come."""

    def __init__(self, tell: Progress | None = None) -> None:
        """Tell nobody, or whom is given."""
        self._tell = tell
        self.done = 0
        self._total = 0

    def expect(self, count: int, since: int) -> None:
        """So many are to come after a point, which may be an earlier one that is returned to."""
        self.done, self._total = since, since + count

    def advance(self, count: int) -> None:
        """So many more are there."""
        self.done += count
        if self._tell is not None:
            self._tell(self.done, self._total)
