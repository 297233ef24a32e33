"""What every engine does: extract the features of the models that are still in the search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from bench_core.model_search.batches import Batch, LaterRound
from bench_core.model_search.context import Context


class Engine(ABC):
    """Extracts features; which models and batches is decided by the rounds."""

    name: ClassVar[str]
    halves: ClassVar[bool] = True
    """Whether it follows successive halving unless told otherwise."""
    shares: ClassVar[bool] = False
    """Whether a block that several models share runs once for all of them."""
    scores_together: ClassVar[bool] = False
    """Whether the proxy is fitted for all models of a round at once."""
    policy: ClassVar[str] = "populate"
    """How blocks come to the host: ``populate`` leaves the processor to who computes beside it;
    ``pread`` copies them out of the page cache, as `torch.load` does."""
    is_local: ClassVar[bool] = True
    """Whether all work is done in this process and those that it starts by itself."""
    features_on_disk: ClassVar[bool] = False
    """Whether features go through files, as published."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def prepare(self, live: Sequence[int]) -> None:  # noqa: B027
        """Make what is there before a search starts; not part of its time.

        Args:
            live: the models that are in the search.

        Raises:
            UnusableBlockError: a block is damaged or missing.
        """

    @abstractmethod
    def extract(
        self, live: Sequence[int], batches: Sequence[Batch], later: Sequence[LaterRound] = ()
    ) -> None:
        """Put the features of each live model for each batch where the proxy finds them.

        Args:
            live: the models that are still in the search.
            batches: what this round adds.
            later: what the rounds after it will add; an engine may work ahead on them.

        Raises:
            UnusableBlockError: a block is damaged or missing.
            BudgetError: the memory budget is below the least that is needed.
        """

    def close(self) -> None:  # noqa: B027
        """Give back memory."""
