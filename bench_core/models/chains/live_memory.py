"""How much of what a computation makes is alive at once: tensors are followed, nothing is timed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the tensors that are made while it is on; works on ``meta``, too.

    What an operation takes and frees inside is not seen: the scratch memory of convolutions and
    matrix products.

    Attributes:
        peak: most bytes that were alive at once, what was there before left out.
    """

    def __init__(self, there: Iterable[torch.Tensor]) -> None:
        """Begin with tensors that are there already, and stay."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._there = list(there)
        self._known = {tensor.untyped_storage()._cdata for tensor in self._there}
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation, and look at what is alive after it."""
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor)
        # An expired one's address may come again only when its reference is gone.
        gone = [key for key, (reference, _) in self._made.items() if _is_gone(reference)]
        for key in gone:
            del self._made[key]
        self.peak = max(self.peak, sum(nbytes for _, nbytes in self._made.values()))
        return result

    def _note(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known and storage._cdata not in self._made:
            reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
            self._made[storage._cdata] = reference, storage.nbytes()


def _is_gone(reference: StorageWeakRef) -> bool:
    return bool(reference.expired())  # type: ignore[no-untyped-call]
