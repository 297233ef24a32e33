"""So many threads of torch for a while: small products are faster on one, and bits depend on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch compute with so many threads until the end of the block.

    A product of some 10 microseconds is done before other threads have taken it up, and many times
    later where another program holds a core. Sums that threads share have other last bits.
    """
    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
