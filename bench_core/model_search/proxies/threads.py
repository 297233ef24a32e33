"""One thread for a while: small matrix products are faster so, and their bits stay the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on the calling thread alone until the end of the block.

    A head's step is two products of some 10 microseconds: handing them to other threads costs more
    than it saves, and many times more when another program holds one of the cores.
    """
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
